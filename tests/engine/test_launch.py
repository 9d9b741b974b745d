"""From a config and a command line to a run: options, checks, whole files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from config_files import marked
from mmengine.config import Config
from mmengine.registry import HOOKS, init_default_scope
from torch import nn

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.checkpoints import load_file, load_weights
from mmpatchconvnet.config_files import ConfigError, read_config
from mmpatchconvnet.datasets import CLASSES, write_scenes
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.engine.config_checks import check_config, check_features
from mmpatchconvnet.engine.launch import build_runner, load_config, use_amp
from mmpatchconvnet.registry import MODELS

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo'
LAYOUTS = {
    'classifier_patchconvnet-tiny_scenes.py': 'classes',
    'upernet_patchconvnet-tiny_scenes.py': 'ade',
    'mask-rcnn_patchconvnet-tiny_scenes.py': 'coco',
}
TRAINED = [DEMO / name for name in LAYOUTS]
SHORT = {
    'train_cfg.max_iters': 3,
    'train_cfg.val_interval': 3,
    'default_hooks.checkpoint.interval': 1,
    'train_dataloader.batch_size': 2,
}


# A COCO file of one object; its categories are all that mmdet knows.
PERSON = """{"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}],
"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9],
"area": 81, "iscrowd": 0, "segmentation": [[0, 0, 9, 0, 9, 9]]}], "categories": CLASSES}
"""


@pytest.fixture(scope='session')
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    return write_scenes(folder, num_train=16, num_val=6)


def strings(node: object) -> list[str]:
    if isinstance(node, dict):
        return [s for value in node.values() for s in strings(value)]
    if isinstance(node, (list, tuple)):
        return [s for value in node for s in strings(value)]
    return [node] if isinstance(node, str) else []


@pytest.mark.parametrize('path', marked(TRAINED))
def test_data_root_reaches_every_path(path, scenes):
    root = str(scenes / LAYOUTS[path.name])
    cfg = load_config(str(path), data_root=root)
    old = Config.fromfile(path).data_root
    assert not [s for s in strings(cfg.to_dict()) if s.startswith(old)]
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root == root
    check_config(cfg)


@pytest.mark.cls
def test_data_root_of_the_data_alone_is_replaced_too():
    leaf = ROOT / 'configs/patchconvnet/patchconvnet-s60_16xb64_in1k.py'
    cfg = load_config(str(leaf), data_root='elsewhere')
    assert cfg.train_dataloader.dataset.data_root == 'elsewhere'
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere'


@pytest.mark.det
def test_a_config_of_a_host_goes_by_its_name(tmp_path):
    name = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
    cfg = load_config(name, data_root='elsewhere')
    assert cfg.model.backbone.type == 'SwinTransformer'
    assert '_scope_' not in cfg.model.backbone  # as if read from its file
    assert cfg.train_dataloader.dataset.data_root == 'elsewhere'
    assert cfg.work_dir == 'work_dirs/mask-rcnn_swin-t-p4-w7_fpn_1x_coco'
    with pytest.raises(ConfigError, match=r"data_root='elsewhere' .*folder"):
        check_config(cfg)
    for wrong in ('mmdet::swin/none.py', 'none::swin/none.py', 'mmdet::none.py'):
        with pytest.raises(ConfigError, match=rf'{wrong}.* give PACKAGE::FOLDER/NAME'):
            load_config(wrong)
    with pytest.raises(ConfigError, match=r'none\.py .*give a config file'):
        load_config('none.py')


@pytest.mark.cls
def test_command_line_lies_over_the_config():
    path = str(DEMO / 'classifier_patchconvnet-tiny_scenes.py')
    cfg = load_config(path, seed=7, options={'train_dataloader.batch_size': 3})
    assert cfg.randomness.seed == 7
    assert cfg.train_dataloader.batch_size == 3
    assert cfg.work_dir == 'work_dirs/classifier_patchconvnet-tiny_scenes'
    assert load_config(path, work_dir='elsewhere').work_dir == 'elsewhere'


@pytest.mark.cls
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({}, r"data_root='data/class_folders/' of train_dataloader .*: give"),
        (
            {'train_dataloader.dataset.data_prefix': 'nowhere'},
            r"nowhere'.* train_dataloader",
        ),
        (
            {'model.head.num_classes': 5},
            r'head.num_classes=5 .*train_dataloader .*6 classes.* set it to 6',
        ),
        (
            {'data_preprocessor.num_classes': 1000},
            r'data_preprocessor.num_classes=1000 .*train_dataloader .*6 classes',
        ),
        (
            {'val_dataloader.dataset.metainfo.classes': ('ball', 'leaf')},
            r'=6 .*val_dataloader .*2 classes.* set it to 2',
        ),
        (
            {'val_dataloader.dataset.metainfo.classes': CLASSES[::-1]},
            r"val_dataloader.*folders.*: write \('ball', 'donut'",
        ),
        (
            {'val_dataloader.dataset.metainfo.classes': (*CLASSES[1:], 'bal')},
            r"'bal'\).*folders.*: write \('ball', 'donut'",
        ),
        (
            {'val_dataloader.dataset.metainfo.classes': 'ball'},
            r"classes='ball'.*: write \('ball',\)",
        ),
    ],
)
def test_faults_of_a_config_are_named(changes, message, scenes):
    path = str(DEMO / 'classifier_patchconvnet-tiny_scenes.py')
    root = str(scenes / 'classes') if changes else None
    cfg = load_config(path, data_root=root, options=changes)
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


@pytest.mark.cls
def test_folders_may_have_other_names_but_must_be_as_many_as_classes(scenes):
    path = str(DEMO / 'classifier_patchconvnet-tiny_scenes.py')
    key = 'train_dataloader.dataset.metainfo.classes'
    shown = tuple(f'the {name}' for name in CLASSES)
    root = str(scenes / 'classes')
    check_config(load_config(path, data_root=root, options={key: shown}))
    options = {
        key: shown[1:],
        'model.head.num_classes': len(shown) - 1,
        'data_preprocessor.num_classes': len(shown) - 1,
    }
    with pytest.raises(ConfigError, match=r'5 names .*6 folders .*: give'):
        cfg = load_config(path, data_root=root, options=options)
        check_config(cfg, ('train_dataloader',))


@pytest.mark.cls
def test_classes_may_be_a_file_of_names(scenes, tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    options = {'train_dataloader.dataset.metainfo.classes': f'{tmp_path}/classes.txt'}
    path = str(DEMO / 'classifier_patchconvnet-tiny_scenes.py')
    check_config(load_config(path, data_root=str(scenes / 'classes'), options=options))


@pytest.mark.det
def test_classes_come_from_the_data_set_where_the_config_is_silent(tmp_path):
    from mmdet.datasets import CocoDataset

    leaf = ROOT / 'configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py'
    for part in ('annotations', 'train2017', 'val2017'):
        (tmp_path / part).mkdir()
    names = CocoDataset.METAINFO['classes']
    categories = [dict(id=1 + index, name=name) for index, name in enumerate(names)]
    for split in ('train', 'val'):
        file = tmp_path / 'annotations' / f'instances_{split}2017.json'
        file.write_text(PERSON.replace('CLASSES', json.dumps(categories)))
    check_config(load_config(str(leaf), data_root=str(tmp_path)))
    wrong = {'model.roi_head.mask_head.num_classes': 3}
    cfg = load_config(str(leaf), data_root=str(tmp_path), options=wrong)
    with pytest.raises(
        ConfigError, match=r'mask_head.num_classes=3 .*80 classes.* set it to 80'
    ):
        check_config(cfg)


@pytest.mark.seg
def test_a_pyramid_with_too_few_maps_says_so_before_training():
    import mmseg.models  # noqa: F401 (fills the registry)

    init_default_scope('mmseg')
    cfg = Config.fromfile(DEMO / 'upernet_patchconvnet-tiny_scenes.py')
    model = MODELS.build(cfg.model)
    check_features(model)
    cfg.model.backbone.out_indices = (3, 11)
    model = MODELS.build(cfg.model)
    with pytest.raises(ValueError, match=r'DeconvPyramid .*4 maps .*6'):
        check_features(model)
    assert model.training
    check_features(nn.Linear(1, 1))  # a model without a backbone passes


@pytest.mark.det
def test_a_pyramid_for_another_stride_says_so_before_training():
    import mmdet.models  # noqa: F401 (fills the registry)

    init_default_scope('mmdet')
    cfg = Config.fromfile(DEMO / 'mask-rcnn_patchconvnet-tiny_scenes.py')
    cfg.model.backbone.arch.patch_size = 8
    with pytest.raises(ConfigError, match=r'DeconvPyramid .*stride 16.* patch_size=8'):
        check_features(MODELS.build(cfg.model))
    cfg.model.neck[0].patch_size = 8
    check_features(MODELS.build(cfg.model))


def test_values_of_numpy_can_be_read_again(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        '_base_ = []\nimport numpy as np\nfrom pathlib import Path\n'
        "metainfo = dict(classes=tuple(np.unique(['leaf', 'fruit'])), file=Path('x'))\n"
        'lr = np.float64(0.5)\nsizes = [dict(scale=np.arange(2))]\n'
        'del np, Path'
    )
    cfg = load_config(str(path))
    cfg.dump(tmp_path / 'dumped.py')
    dumped = Config.fromfile(tmp_path / 'dumped.py')
    assert dumped.metainfo == dict(classes=('fruit', 'leaf'), file='x')
    assert (dumped.lr, dumped.sizes) == (0.5, [dict(scale=[0, 1])])


@pytest.mark.det
@pytest.mark.seg
def test_checkpoints_are_whole_and_no_other_hook_is_added():
    path = str(next((ROOT / 'configs' / 'upernet').glob('*.py')))
    cfg = load_config(path)
    assert cfg.default_hooks.checkpoint.type == 'mmpatchconvnet.AtomicCheckpointHook'
    assert cfg.default_hooks.checkpoint.interval == 16000
    off = {'default_hooks.checkpoint': None}
    assert load_config(path, options=off).default_hooks.checkpoint is None
    remote = {'default_hooks.checkpoint.out_dir': 's3://bucket'}
    hook = load_config(path, options=remote).default_hooks.checkpoint
    assert HOOKS.build(hook).backend_args is None  # mmengine chooses it by out_dir
    stock = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    theirs, cfg = read_config(stock), load_config(stock)
    theirs.default_hooks.checkpoint.type = 'mmpatchconvnet.AtomicCheckpointHook'
    for hooks in ('default_hooks', 'custom_hooks'):
        assert cfg.get(hooks) == theirs.get(hooks)


@pytest.mark.parametrize(
    'dataset',
    [
        pytest.param(
            dict(type='mmpretrain.CIFAR10', data_root='nowhere'), marks=pytest.mark.cls
        ),
        dict(type='mmdet.CocoDataset', data_root='s3://bucket', ann_file='a.json'),
        dict(type='Unknown', ann_file=[], data_prefix=dict(img=None)),
    ],
)
def test_data_that_cannot_be_checked_passes(dataset):
    wrapped = dict(type='RepeatDataset', times=2, dataset=dataset)
    check_config(Config(dict(train_dataloader=dict(dataset=wrapped))))


def test_wrong_files_and_options_are_named():
    with pytest.raises(ConfigError, match=r'nowhere\.py .*give a config file'):
        load_config('nowhere.py')
    runtime = ROOT / 'configs' / '_base_' / 'short_run.py'
    with pytest.raises(ConfigError, match=r'--data-root here .*--cfg-options'):
        load_config(str(runtime), data_root='here')
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r'--amp .*leave it out'):
            use_amp(load_config(str(runtime)))


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'checkpoint.pth'
    atomic_write(path, b'first')
    assert path.read_bytes() == b'first'

    def full_disk(*_):
        raise OSError('no space left')

    monkeypatch.setattr(os, 'replace', full_disk)
    with pytest.raises(OSError, match='no space'):
        atomic_write(path, b'second')
    assert path.read_bytes() == b'first'
    assert list(path.parent.iterdir()) == [path]


def run(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-W', 'ignore', *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | dict(OMP_WAIT_POLICY='PASSIVE'),
    )


@pytest.mark.cls
def test_a_url_to_start_from_is_not_left_to_mmengine(scenes, tmp_path, monkeypatch):
    file = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'head.fc.bias': torch.zeros(len(CLASSES))}}, file)
    monkeypatch.setattr('mmpatchconvnet.checkpoints.files.fetch', lambda url: file)
    cfg = load_config(
        str(DEMO / 'classifier_patchconvnet-tiny_scenes.py'),
        work_dir=str(tmp_path),
        data_root=str(scenes / 'classes'),
        options={'load_from': 'https://example.org/weights.pth'},
    )
    runner = build_runner(cfg, training=True)
    runner.load_or_resume()
    assert runner.model.head.fc.bias.abs().sum() == 0


def short(path: Path, scenes: Path, work_dir: Path, name: str, **options) -> Config:
    """A run of three steps, in this process; `name` tells its log from others."""
    cfg = load_config(
        str(path),
        work_dir=str(work_dir),
        data_root=str(scenes / LAYOUTS[path.name]),
        options=SHORT | options | dict(experiment_name=str(work_dir / name)),
    )
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('path', marked(TRAINED))
def test_train_resume_and_test(path, scenes, tmp_path):
    with_seed = {'randomness.seed': 5}
    build_runner(short(path, scenes, tmp_path, 'whole', **with_seed), True).train()
    for file in ('iter_3.pth', 'predictions.png', 'curves.png', 'last_checkpoint'):
        assert (tmp_path / file).stat().st_size > 0

    # As if it had been stopped after two steps; the config has another seed.
    whole = load_file((tmp_path / 'iter_3.pth').rename(tmp_path / 'whole.pth'))
    resumed = build_runner(short(path, scenes, tmp_path, 'again', resume='auto'), True)
    resumed.train()
    assert 'resumed epoch: 0, iter: 2' in Path(resumed.logger.log_file).read_text()
    again = load_file(tmp_path / 'iter_3.pth')['state_dict']
    assert again.keys() == whole['state_dict'].keys()
    for key, value in whole['state_dict'].items():
        assert torch.equal(again[key], value), key

    found = []
    for deploy in (False, True):
        runner = build_runner(short(path, scenes, tmp_path, f'test{deploy}'), False)
        load_weights(runner.model, str(tmp_path / 'iter_3.pth'))
        if deploy:
            switch_to_deploy(runner.model)
        found.append(runner.test())
    assert found[1] == pytest.approx(found[0], abs=0.01)

    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'foo': torch.zeros(1)}}, other)
    with pytest.raises(ValueError, match=r'other\.pth .*no tensor'):
        build_runner(short(path, scenes, tmp_path, 'b', load_from=str(other)), True)


@pytest.mark.slow
@pytest.mark.cls
def test_the_test_tool(scenes, tmp_path):
    """It tests the checkpoint given, whatever the config starts from, and folds it."""
    path = DEMO / 'classifier_patchconvnet-tiny_scenes.py'
    model = build_runner(short(path, scenes, tmp_path, 'test'), False).model
    checkpoint, other = tmp_path / 'given.pth', tmp_path / 'other.pth'
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    torch.save({'state_dict': {'foo': torch.zeros(1)}}, other)
    done = run(
        *('tools/test.py', str(path), str(checkpoint), '--deploy'),
        *('--data-root', str(scenes / 'classes'), '--work-dir', str(tmp_path)),
        *('--cfg-options', f'load_from={other}', 'resume=True'),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'accuracy/top1' in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('path', marked(TRAINED))
def test_the_hosts_own_train_script(path, scenes, tmp_path):
    cfg = load_config(str(path), data_root=str(scenes / LAYOUTS[path.name]))
    host = __import__(cfg.default_scope)
    script = Path(host.__file__).parent / '.mim' / 'tools' / 'train.py'
    options = [
        f'{loader}.dataset.data_root={cfg.data_root}'
        for loader in ('train_dataloader', 'val_dataloader')
    ]
    if 'ann_file' in cfg.val_evaluator:
        options.append(f'val_evaluator.ann_file={cfg.val_evaluator.ann_file}')
    done = run(
        *(str(script), str(path), '--work-dir', str(tmp_path), '--cfg-options'),
        *(f'{key}={value}' for key, value in SHORT.items()),
        *options,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'iter_3.pth').is_file()
