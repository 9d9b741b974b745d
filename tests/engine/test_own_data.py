"""The page on your own data: its configs train on folders laid out as it says."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import official_state_dict, official_tensor
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine.config_checks import check_config, check_features
from mmpatchconvnet.engine.launch import build_runner, load_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'own_data.md').read_text()
BLOCKS = {
    re.search(r'models/([\w-]+)', block)[1]: block
    for block in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
}
MASK_RCNN, UPERNET, CLASSIFIER, UPERNET_S60 = BLOCKS
MARKED = [
    pytest.param(name, marks=marker)
    for name, marker in zip(
        BLOCKS,
        (pytest.mark.det, pytest.mark.seg, pytest.mark.cls, pytest.mark.seg),
        strict=True,
    )
]
SIZE = 48


def write_pictures(folder: Path, ending: str, count: int = 2) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (SIZE, SIZE, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index}.{ending}')


@pytest.fixture(scope='module')
def coco(tmp_path_factory) -> Path:
    """Two pictures, each with a leaf on the left and a fruit on the right."""
    root = tmp_path_factory.mktemp('coco')
    (root / 'annotations').mkdir()
    images = [
        dict(id=index, file_name=f'{index}.jpg', height=SIZE, width=SIZE)
        for index in range(2)
    ]
    annotations = [
        dict(
            id=2 * image['id'] + right,
            image_id=image['id'],
            category_id=(7, 3)[right],
            bbox=[24 * right, 8, 20, 20],
            area=400,
            iscrowd=0,
            segmentation=[np.add([0, 8, 20, 8, 20, 28, 0, 28], [24 * right, 0] * 4)],
        )
        for image in images
        for right in (0, 1)
    ]
    categories = [dict(id=7, name='leaf'), dict(id=3, name='fruit')]
    content = dict(images=images, annotations=annotations, categories=categories)
    for split in ('train', 'val'):
        write_pictures(root / 'images' / split, 'jpg')
        file = root / 'annotations' / f'instances_{split}.json'
        file.write_text(json.dumps(content, default=np.ndarray.tolist))
    return root


@pytest.fixture(scope='module')
def label_maps(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('label_maps')
    labels = np.full((SIZE, SIZE), 255, np.uint8)
    for label in range(3):
        labels[:, 12 * label : 12 * label + 12] = label
    for split in ('train', 'val'):
        write_pictures(root / 'images' / split, 'jpg')
        (root / 'labels' / split).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(labels).save(root / 'labels' / split / f'{index}.png')
    return root


@pytest.fixture(scope='module')
def class_folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('class_folders')
    for split in ('train', 'val'):
        for name in ('leaf', 'fruit'):
            write_pictures(root / split / name, 'png')
    return root


@pytest.fixture
def data(request) -> dict[str, Path]:
    """The folder of each block."""
    coco, label_maps, class_folders = map(
        request.getfixturevalue, ('coco', 'label_maps', 'class_folders')
    )
    return {
        MASK_RCNN: coco,
        UPERNET: label_maps,
        CLASSIFIER: class_folders,
        UPERNET_S60: label_maps,
    }


@pytest.fixture(scope='module')
def torch_home(tmp_path_factory) -> Path:
    """A cache with a file that has the tensors of the official S60."""
    home = tmp_path_factory.mktemp('torch_home')
    file = home / 'hub' / 'checkpoints' / 's60_224_1k.pth'
    file.parent.mkdir(parents=True)
    torch.save({'model': official_state_dict(384, depth=60)}, file)
    yield home
    shutil.rmtree(home)  # 100 MB


def save(block: str, folder: Path) -> str:
    path = folder / 'my_config.py'
    path.write_text(block)
    return str(path)


@pytest.mark.parametrize('name', MARKED)
def test_configs_of_the_page_pass_the_checks(name, data, tmp_path):
    cfg = load_config(save(BLOCKS[name], tmp_path), data_root=str(data[name]))
    check_config(cfg)
    # With it mmengine would look for types of the host in our registries, and warn.
    assert "'_scope_': 'mmpatchconvnet'" not in str(cfg.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize('name', MARKED[:3])  # the last is the second with an S60
def test_configs_of_the_page_train(name, data, tmp_path):
    longer = re.search(r'--cfg-options (train_cfg.*?)`', PAGE)[1]  # the page's own
    options = {
        **dict.fromkeys(re.findall(r'(\S+)=2000', longer), 2),
        'param_scheduler.0.end': 1,
        'param_scheduler.1.begin': 1,
        'train_cfg.val_interval': 2,
        'train_dataloader.batch_size': 2,
    }
    cfg = load_config(
        save(BLOCKS[name], tmp_path), str(tmp_path / 'run'), str(data[name]), options
    )
    build_runner(cfg, training=True).train()
    for file in ('iter_2.pth', 'predictions.png', 'curves.png'):
        assert (tmp_path / 'run' / file).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize('name', MARKED[:3])
def test_every_model_of_the_page_takes_official_weights(
    name, tmp_path, torch_home, monkeypatch
):
    monkeypatch.setenv('TORCH_HOME', str(torch_home))
    block, *_ = BLOCKS[name].replace('-tiny', '-s60').partition('# Stride 8')
    block += BLOCKS[UPERNET_S60].splitlines(keepends=True)[-1]
    cfg = load_config(save(block, tmp_path))
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    if name == UPERNET:
        assert block == BLOCKS[UPERNET_S60]
    column = Config.fromfile(ROOT / 'configs/_base_/columns/s60.py').column
    for key in {*column} - ({'out_indices'} if name == CLASSIFIER else set()):
        assert cfg.model.backbone[key] == column[key]
    __import__(f'{cfg.default_scope}.models')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    check_features(model)
    last = model.backbone.blocks[59].pointwise_in.weight
    key = 'blocks.59.attn.qkv_pos.0.weight'
    assert torch.equal(last, official_tensor(key, tuple(last.shape)))


@pytest.mark.det
def test_mmdet_labels_in_the_order_of_the_file(coco):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        data_root=str(coco),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train'),
        metainfo=dict(classes=('fruit', 'leaf')),
    )
    left, right = dataset.get_data_info(0)['instances']
    assert (left['bbox_label'], right['bbox_label']) == (0, 1)  # but 0 is named fruit


@pytest.mark.det
@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (
            ('fruit', 'leaf'),
            r"train_dataloader.*\('fruit', 'leaf'\).*categories in "
            r".*instances_train.json'.*\('leaf', 'fruit'\)",
        ),
        (('leaf', 'friut'), r"'friut'.*\('leaf', 'fruit'\).*order"),
        (('fruit',), ''),  # a selection
    ],
)
def test_classes_follow_the_categories_of_the_json(classes, message, coco, tmp_path):
    options = {
        'model.roi_head.bbox_head.num_classes': len(classes),
        'model.roi_head.mask_head.num_classes': len(classes),
        'train_dataloader.dataset.metainfo.classes': classes,
        'val_dataloader': None,
        'test_dataloader': None,
    }
    path = save(BLOCKS[MASK_RCNN], tmp_path)
    cfg = load_config(path, data_root=str(coco), options=options)
    if not message:
        check_config(cfg)
        return
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


@pytest.mark.det
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"images": [', r'val.json.*COCO.*JSONDecodeError'),
        ('[]', r'val.json.*COCO.*TypeError'),
        (
            '{"images": []}',
            r"val.json.*COCO.*'categories'.*ann_file",
        ),
        (
            '{"categories": [{"id": 1, "name": "leaf"}, {"id": 2, "name": "fruit"},'
            ' {"id": 3, "name": "leaf"}], "images": []}',
            "several .*'leaf'.*: rename",
        ),
    ],
)
def test_faults_of_a_json_are_named(content, message, coco, tmp_path):
    root = tmp_path / 'coco'
    shutil.copytree(coco, root)
    (root / 'annotations' / 'instances_val.json').write_text(content)
    cfg = load_config(save(BLOCKS[MASK_RCNN], tmp_path), data_root=str(root))
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


@pytest.mark.det
def test_a_data_set_that_labels_in_its_own_way_is_left_to_it(coco, tmp_path):
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    @DATASETS.register_module(force=True)
    class OtherOrder(CocoDataset):
        def load_data_list(self) -> list[dict]:
            return []

    classes = dict(classes=('fruit', 'leaf'))
    block = BLOCKS[MASK_RCNN].replace("('leaf', 'fruit')", "('fruit', 'leaf')")
    cfg = load_config(save(block, tmp_path), data_root=str(coco))
    with pytest.raises(ConfigError, match=r"\('fruit', 'leaf'\).*categories"):
        check_config(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.metainfo == classes
        loader.dataset.type = 'OtherOrder'
    check_config(cfg)


@pytest.mark.seg
def test_a_selection_of_known_classes_has_colours_already(label_maps, tmp_path):
    classes = "('wall', 'building', 'sky')"  # three of ADE20K's
    block = BLOCKS[UPERNET].replace("('soil', 'leaf', 'fruit')", classes)
    cfg = load_config(save(block, tmp_path), data_root=str(label_maps))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo.palette = [[0, 0, 0]] * 4
    with pytest.raises(ConfigError, match=r'4 colours .*3 classes'):
        check_config(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.type = 'ADE20KDataset'  # its own colours follow its own classes
    check_config(cfg)


@pytest.fixture
def two_classes(label_maps, tmp_path) -> Config:
    """A config of two classes for maps with labels of 0 to 2."""
    block = BLOCKS[UPERNET].replace("('soil', 'leaf', 'fruit')", "('soil', 'leaf')")
    block = block.replace('num_classes=3', 'num_classes=2')
    return load_config(save(block, tmp_path), data_root=str(label_maps))


@pytest.mark.seg
@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({}, r'label 2 .* 2 classes.*0.png.* ignore_index'),
        (dict(img_suffix='.png'), r'train_dataloader .*\*.png.*: set img_suffix'),
        (
            dict(data_prefix=dict(img_path='images/train', seg_map_path='images')),
            r"train_dataloader: 2 of 2 label maps missing .*images/0.png'.*add it",
        ),
    ],
)
def test_faults_of_label_maps_are_named(settings, message, two_classes):
    two_classes.train_dataloader.dataset.update(settings)
    with pytest.raises(ConfigError, match=message):
        check_config(two_classes, ('train_dataloader',))


@pytest.mark.seg
def test_colours_of_other_classes_are_named(label_maps, tmp_path):
    block = re.sub(
        r'_base_ = \[.*?\]',
        f"_base_ = '{ROOT}/configs/demo/upernet_patchconvnet-tiny_aerial.py'",
        BLOCKS[UPERNET],
        flags=re.DOTALL,
    )
    path = save(block, tmp_path)
    cfg = load_config(path, data_root=str(label_maps))
    with pytest.raises(ConfigError, match=r'5 colours .*3 classes: give'):
        check_config(cfg)
    path = save(f'{block}metainfo.update(palette=[])\n', tmp_path)
    check_config(load_config(path, data_root=str(label_maps)))
