"""An option that would change nothing is refused; what is read is laid over."""

from pathlib import Path

import pytest

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine.launch import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
SIGNS = str(CONFIGS / 'demo/classifier_patchconvnet-tiny_signs.py')
MASK_RCNN = str(CONFIGS / 'mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py')
UPERNET = str(CONFIGS / 'upernet/patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py')
RATIOS = 'model.rpn_head.anchor_generator.ratios'
MARKERS = {
    SIGNS: pytest.mark.cls,
    MASK_RCNN: pytest.mark.det,
    UPERNET: pytest.mark.seg,
}


def by_host(*rows: tuple[str, ...]) -> list:
    """Parameters of a test, each with the marker of its config's host."""
    return [pytest.param(*row, marks=MARKERS[row[0]]) for row in rows]


@pytest.mark.parametrize(
    ('config', 'key', 'instead'),
    by_host(
        # A fragment's helper, a misspelt name, a name without its parents.
        (MASK_RCNN, 'column.drop_path_rate', 'model.backbone.drop_path_rate'),
        (MASK_RCNN, 'modle.backbone.drop_path_rate', 'model.backbone.drop_path_rate'),
        (SIGNS, 'lr', 'optim_wrapper.optimizer.lr'),
        # Variables of a host's file, used when it was parsed.
        (UPERNET, 'crop_size', r'train_dataloader.dataset.pipeline.3.crop_size'),
        (SIGNS, 'train_pipeline.1.scale', 'train_dataloader.dataset.pipeline.1.scale'),
        (UPERNET, 'data_preprocessor.size', 'model.data_preprocessor.size'),
        (MASK_RCNN, 'data_preprocessor.mean', 'is model.data_preprocessor.mean'),
        # One that is not used without test-time augmentation.
        (UPERNET, 'tta_pipeline.0.type', r'nearest key is \w.*\.type'),
        # What only another runner reads.
        (SIGNS, 'strategy.type', 'runner_type=FlexibleRunner'),
        (SIGNS, 'init_weights_for_test_or_val', 'runner_type=FlexibleRunner'),
        # What has an argument of its own.
        (SIGNS, 'data_root', '--data-root'),
        (SIGNS, 'launcher', '--launcher'),
        (SIGNS, 'seed', 'randomness.seed'),
        # Paths that do not fit lists and values.
        (MASK_RCNN, 'model.neck.type', 'a list of 2.*0 to 1'),
        (MASK_RCNN, 'model.neck.2.type', 'a list of 2.*0 to 1'),
        (MASK_RCNN, f'{RATIOS}.0', f'set {RATIOS} as a whole'),
        (MASK_RCNN, f'{RATIOS}.0.x', f'set {RATIOS} as a whole'),
        (MASK_RCNN, 'model.neck.0', 'set model.neck as a whole'),
        (
            SIGNS,
            'optim_wrapper.optimizer.lr.x',
            'optim_wrapper.optimizer.lr as a whole',
        ),
    ),
)
def test_what_would_change_nothing_is_refused(config, key, instead):
    with pytest.raises(ConfigError, match=f'{key}.*{instead}'):
        load_config(config, options={key: 1})


@pytest.mark.parametrize(
    ('config', 'key'),
    by_host(
        (MASK_RCNN, 'model.backbone.stem_indices'),
        (MASK_RCNN, 'model.neck.0.stem_channels'),
        (SIGNS, 'data_preprocessor.num_classes'),  # here it is the runner's
        (SIGNS, 'resume'),
        (SIGNS, 'randomness.deterministic'),
        (SIGNS, 'env_cfg.cudnn_benchmark'),
        (SIGNS, 'optim_wrapper.paramwise_cfg.custom_keys.norm.decay_mult'),
        (UPERNET, 'find_unused_parameters'),
        (UPERNET, 'default_hooks.visualization.interval'),
    ),
)
def test_what_is_read_may_be_new(config, key):
    node = load_config(config, options={key: 1})
    for part in key.split('.'):
        node = node[int(part) if part.isdigit() else part]
    assert node == 1


@pytest.mark.cls
def test_the_runner_is_that_of_the_options_laid_over():
    flexible = {'runner_type': 'FlexibleRunner'}
    fsdp = {'strategy.type': 'FSDPStrategy'}
    assert load_config(SIGNS, options=flexible | fsdp).strategy.type == 'FSDPStrategy'
    for key in ('sync_bn', 'compile'):  # of a Runner
        assert load_config(SIGNS, options={key: True})[key]
        with pytest.raises(ConfigError, match=f'{key}.*runner_type=Runner'):
            load_config(SIGNS, options=flexible | {key: True})
    with pytest.raises(ConfigError, match=r'runner_type=Fast .*FlexibleRunner'):
        load_config(SIGNS, options={'runner_type': 'Fast'})
