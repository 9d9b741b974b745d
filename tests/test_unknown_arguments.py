"""An argument or a type that nothing takes is named with its place in the config."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from toy_training import toy_config

from mmpatchconvnet.config_files import ConfigError, read_config
from mmpatchconvnet.engine.launch import build_runner
from mmpatchconvnet.experiments.complexity import build_on_meta
from mmpatchconvnet.unknown_arguments import explain_arguments

pytestmark = pytest.mark.usefixtures('quick')


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('train_cfg.max_iter', 'IterBasedTrainLoop: the nearest is max_iters'),
        ('train_dataloader.batch_sise', 'DataLoader: the nearest is batch_size'),
        ('train_dataloader.sampler.seeed', 'InfiniteSampler: the nearest is seed'),
        ('param_scheduler.0.ends', 'LinearLR: the nearest is end'),
        ('optim_wrapper.optimizer.lrr', 'SGD: the nearest is lr'),
        ('optim_wrapper.clip_gradd', 'OptimWrapper: the nearest is clip_grad'),
        ('randomness.sed', 'set_randomness: the nearest is seed'),
        ('custom_hooks.0.foo', 'EmptyCacheHook: it takes before_epoch, after_epoch'),
        ('model.foo', 'ToyModel: it takes none'),
        # mmengine would refuse it only when the first checkpoint is saved.
        (
            'default_hooks.checkpoint.intervall',
            'AtomicCheckpointHook: the nearest is interval',
        ),
    ],
)
def test_an_argument_that_a_part_does_not_take(key, message, tmp_path):
    cfg = toy_config(
        tmp_path,
        steps=1,
        param_scheduler=[dict(type='LinearLR', by_epoch=False, end=1)],
        custom_hooks=[dict(type='EmptyCacheHook')],
    )
    cfg.merge_from_dict({key: 1})
    told = re.escape(f'{key} is no argument of {message}')
    with pytest.raises(ConfigError, match=f'^{told}'), explain_arguments(cfg):
        build_runner(cfg, training=True).train()
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(
    ('key', 'kind', 'message'),
    [
        ('optim_wrapper.type', 'OptWrapper', 'the nearest is OptimWrapper, or'),
        ('optim_wrapper.optimizer.type', 'AdmW', 'the nearest is AdamW, or'),
        ('model.type', 'PatchConvNet', 'nearest is mmpatchconvnet.PatchConvNet, or'),
        ('model.type', 'mmpatch.PatchConvNet', 'nearest is mmpatchconvnet.PatchConv'),
        ('model.type', 'mmpatchconvnet.PatchNet', 'is mmpatchconvnet.PatchConvNet,'),
        ('train_dataloader.dataset.type', 'Xyz', 'check its spelling, or import'),
    ],
)
def test_a_type_that_is_not_registered(key, kind, message, tmp_path):
    cfg = toy_config(tmp_path, steps=1)
    cfg.merge_from_dict({key: kind})
    scope = kind.rpartition('.')[0] or 'mmengine'
    told = rf'^{key}={kind} is not a registered \w+ of {scope}: .*{message}'
    with pytest.raises(ConfigError, match=told), explain_arguments(cfg):
        build_runner(cfg, training=True).train()


@pytest.mark.det
@pytest.mark.parametrize('key', ['backbone.norm_cfg', 'neck.norm_cfg'])
def test_a_layer_that_is_not_registered(key):
    """mmcv leaves its name out of the error."""
    cfg = read_config('mmdet::_base_/models/mask-rcnn_r50_fpn.py')
    cfg.default_scope = 'mmdet'
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict({f'model.{key}': dict(type='BNN')})
    told = re.escape(f'model.{key}.type=BNN is not a registered model of mmdet')
    with pytest.raises(ConfigError, match=told), explain_arguments(cfg):
        build_on_meta(cfg)


def test_a_part_of_a_lazy_config(tmp_path):
    file = tmp_path / 'lazy.py'
    file.write_text(
        'from mmpatchconvnet.models import PatchConvNet\n'
        "model = dict(type=PatchConvNet, arch='s60', foo=1)"
    )
    cfg = Config.fromfile(file, lazy_import=True)
    told = r'^model\.foo is no argument of PatchConvNet'
    with pytest.raises(ConfigError, match=told), explain_arguments(cfg):
        MODELS.build(cfg.model)


@pytest.mark.cls
def test_a_preprocessor_without_a_type_is_that_of_mmpretrain():
    from mmpretrain.models import ImageClassifier

    settings = dict(to_rbg=True)
    cfg = Config(dict(default_scope='mmpretrain', data_preprocessor=settings))
    told = r'^data_preprocessor.to_rbg is no .* ClsDataPreprocessor: .* is to_rgb\.$'
    with pytest.raises(ConfigError, match=told), explain_arguments(cfg):
        ImageClassifier(dict(type='ResNet', depth=18), data_preprocessor=settings)


@pytest.mark.parametrize(
    'error',
    [
        TypeError("forward() got an unexpected keyword argument 'foo'"),
        TypeError("Conv2d.__init__() got an unexpected keyword argument 'foo'"),
        KeyError('foo'),
        KeyError('Linear is not in the mmengine::model registry'),
    ],
)
def test_an_error_that_the_config_does_not_account_for_stays(error):
    cfg = Config(dict(model=dict(type='Conv1d', foo=1)))
    with pytest.raises(type(error), match=r'foo|Linear'), explain_arguments(cfg):
        raise error


def test_a_command_ends_in_the_sentence(tmp_path: Path, monkeypatch):
    from mmpatchconvnet import cli

    cfg = toy_config(tmp_path / 'run', steps=1)
    cfg.train_cfg.max_iter = 30
    cfg.dump(tmp_path / 'config.py')
    monkeypatch.setattr('sys.argv', ['', 'train', str(tmp_path / 'config.py')])
    with pytest.raises(SystemExit, match=r'^error: train_cfg.max_iter is no argument'):
        cli.main()
