"""`AttentionMap`: maps lie where the model looks in the original picture."""

import numpy as np
import pytest
import torch
from config_files import read
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

from mmpatchconvnet import AttentionMap, AttentionPooling, PatchConvNet
from mmpatchconvnet.attention.cells import watch_steps
from mmpatchconvnet.attention.map import brightest, entropy
from mmpatchconvnet.attention.outputs import draw_attention, to_arrays
from mmpatchconvnet.attention.page import to_page
from mmpatchconvnet.attention.placement import Axis, Placement
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.inference.pictures import PictureError

LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
EDGE = dict(type='ResizeEdge', scale=64, edge='short')
OFFICIAL = dict(EDGE, backend='pillow', interpolation='bicubic')
KEEP = dict(type='mmpretrain.Resize', scale=(80, 80), keep_ratio=True)
# Of a picture of 240 x 160 pixels: left and top of the input, the pixels of the picture
# for one of the input, across and down, and width and height of the input.
GRIDS = {
    'as it is': (0, 0, 1, 1, 240, 160),
    'resize': (0, 0, 2.5, 2.5, 96, 64),
    'another shape': (0, 0, 3.75, 1.25, 64, 128),
    'crop': (56, 32, 1, 1, 128, 96),
    'resize and crop': (40, 0, 2.5, 2.5, 64, 64),
    'uneven crop': (22 * 2.5, 8 * 2.5, 2.5, 2.5, 51, 47),
    'crop and resize': (40, 0, 160 / 96, 160 / 96, 96, 96),
    'pad': (0, 0, 3, 160 / 53, 96, 128),
    'auto pad': (0, 0, 1, 1, 256, 256),
}
PIPELINES = {
    'as it is': [],
    'resize': [dict(type='mmpretrain.Resize', scale=(96, 64))],
    'another shape': [dict(type='mmpretrain.Resize', scale=(64, 128))],
    'crop': [dict(type='CenterCrop', crop_size=(128, 96))],
    'resize and crop': [OFFICIAL, dict(type='CenterCrop', crop_size=64)],
    'uneven crop': [EDGE, dict(type='CenterCrop', crop_size=(51, 47))],
    'crop and resize': [
        dict(
            type='EfficientNetCenterCrop',
            crop_size=96,
            crop_padding=0,
            interpolation='bicubic',
            backend='pillow',
        )
    ],
    'pad': [KEEP, dict(type='Pad', size=(96, 128))],
    'auto pad': [dict(type='CenterCrop', crop_size=(256, 256), auto_pad=True)],
}


class Brightness(nn.Module):
    """A backbone with a map of stride 16: the highest brightness of each patch."""

    def forward(self, x):
        return (nn.functional.max_pool2d(x.mean(1, keepdim=True), 16, ceil_mode=True),)


class LooksAtBrightest(AttentionPooling):
    """Its token looks at one cell: the brightest patch, or `cell`."""

    cell = None

    def forward(self, x, return_attention=False):
        x = x[-1]
        weights = torch.zeros_like(x.flatten(1))
        if self.cell is None:
            weights[:, x.flatten().argmax()] = 1
        else:
            weights[:, self.cell[0] * x.shape[-1] + self.cell[1]] = 1
        return (torch.zeros(1, self.in_channels),), weights.view_as(x)[:, None]


@pytest.fixture(scope='module')
def maps_with():
    """Returns the `AttentionMap` of such a model with steps in its test pipeline."""
    pytest.importorskip('mmpretrain')
    from small_models import build_model, small_config

    def make(steps, **preprocessor):
        cfg = small_config('classifier')
        cfg.test_dataloader.dataset.pipeline = [LOAD, *steps, PACK]
        cfg.data_preprocessor.update(preprocessor)
        model = build_model(cfg)
        model.backbone, model.neck = Brightness(), LooksAtBrightest(128)
        model.cfg = cfg
        return AttentionMap(model)

    return make


def picture_with_dot(x, y, size=(160, 240)):
    """Black, with a bright square of 24 pixels around (x, y)."""
    image = np.zeros((*size, 3), np.uint8)
    image[y - 12 : y + 12, x - 12 : x + 12] = 255
    return image


def peak_of(weights):
    """The middle (x, y) of the pixels with the largest weights."""
    rows, columns = np.nonzero(weights > 0.97 * weights.max())
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@pytest.mark.cls
def test_a_known_cell_lights_up_at_its_exact_place(maps_with):
    """192 x 128 pixels, halved; of 96 columns the crop keeps the 64 in the middle."""
    maps = maps_with([EDGE, dict(type='CenterCrop', crop_size=64)])
    maps.pooling.cell = 1, 2  # of 4 x 4: columns 96 to 128 and rows 32 to 64
    found = maps(np.zeros((128, 192, 3), np.uint8))
    assert found.placement.box == (32, 0, 160, 128)
    assert found.raw.shape == (4, 4) and found.raw[1, 2] == 1 == found.raw.sum()
    assert found.map.shape == (128, 192) and found.map.dtype == np.float32
    rows, columns = np.indices(found.map.shape) + 0.5
    total = found.map.sum()
    assert (found.map * columns).sum() / total == pytest.approx(112, abs=1e-3)
    assert (found.map * rows).sum() / total == pytest.approx(48, abs=1e-3)
    assert total == pytest.approx(32 * 32, rel=1e-3)  # the area of a cell
    assert found.map[:, :32].max() == found.map[:, 160:].max() == 0
    assert found.entropy == 0
    assert found.scores.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.cls
@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('divisor', [1, 64])
def test_the_map_lies_on_what_the_model_looks_at(name, divisor, maps_with):
    maps = maps_with(PIPELINES[name], pad_size_divisor=divisor)
    x, y, across, down, *size = GRIDS[name]
    width, height = (-(-side // divisor) * divisor for side in size)
    expected = x, y, x + across * width, y + down * height
    for x, y in ((96, 52), (150, 100)):
        found = maps(picture_with_dot(x, y))
        left, top, right, bottom = found.placement.grid
        assert found.placement.grid == pytest.approx(expected, abs=0.02)
        rows, columns = found.raw.shape
        cell = np.array([(right - left) / columns, (bottom - top) / rows])
        distance = np.abs(peak_of(found.map) - (x, y)) / cell
        assert (distance <= 0.75 + 12 / cell).all()
        assert found.map[y - 12 : y + 12, x - 12 : x + 12].max() > 0


@pytest.mark.cls
def test_a_picture_is_turned_as_exif_says(maps_with, tmp_path):
    maps = maps_with([dict(type='CenterCrop', crop_size=96)])
    exif = Image.Exif()
    exif[274] = 6  # show it turned by a quarter
    dot = picture_with_dot(100, 60)
    file = tmp_path / 'a.jpg'
    stored = np.ascontiguousarray(np.rot90(dot))
    Image.fromarray(stored).save(file, exif=exif, quality=95)
    found = maps(file)
    assert found.image.shape == dot.shape
    np.testing.assert_allclose(found.map, maps(dot).map)


class Turn:
    def __call__(self, data):
        return dict(data, img=np.rot90(data['img'])[:50])


@pytest.mark.cls
@pytest.mark.parametrize(
    ('steps', 'name'),
    [
        ([Turn()], 'Turn'),
        ([dict(type='mmpretrain.RandomFlip', prob=1.0)], 'RandomFlip'),
        ([dict(type='mmpretrain.RandomCrop', crop_size=160)], 'RandomCrop'),
        ([dict(type='NumpyToPIL'), dict(type='torchvision/Resize', size=9)], '.*PIL'),
    ],
)
def test_a_step_that_cannot_be_followed_is_named(steps, name, maps_with):
    maps = maps_with([step for step in steps if isinstance(step, dict)])
    if isinstance(steps[0], Turn):
        maps.pipeline.steps.transforms.insert(0, steps[0])
    with pytest.raises(ConfigError, match=f'the step {name} of the test pipeline'):
        maps(picture_with_dot(96, 52))


@pytest.mark.cls
def test_a_crop_that_keeps_the_size_is_followed(maps_with):
    step = dict(type='EfficientNetCenterCrop', crop_size=160, crop_padding=160)
    found = maps_with([step])(picture_with_dot(60, 60, (160, 160)))
    assert found.placement.box == pytest.approx((40, 40, 120, 120), abs=0.1)


@pytest.mark.parametrize('cells', [1, 2, 5])
def test_weights_are_kept_by_a_larger_map(cells):
    column, row = Axis(cells / 40), Axis(cells / 60)
    whole = Placement(Axis(), Axis(), (60, 40), (60, 40), column, row, (cells, cells))
    raw = np.random.default_rng(0).random((3, cells, cells))
    placed = whole.to_picture(raw)
    assert placed.shape == (3, 60, 40) and whole.box == whole.grid == (0, 0, 40, 60)
    assert placed.min() >= raw.min() - 1e-6 and placed.max() <= raw.max() + 1e-6
    np.testing.assert_allclose(whole.to_picture(np.ones((cells, cells))), 1, rtol=1e-5)


def conv(kernel, stride, padding, **settings):
    return nn.Conv2d(1, 1, kernel, stride, padding, bias=False, **settings)


class Merging(nn.Module):
    """As in Swin: patches of 4, then pairs of them."""

    def __init__(self):
        super().__init__()
        self.embed, self.unfold = conv(4, 4, 0), nn.Unfold(4, stride=4)

    def forward(self, x):
        x = self.embed(x)
        merged = self.unfold(x).mean(1, keepdim=True)
        return merged.unflatten(2, [side // 4 for side in x.shape[2:]])


class Same(nn.Conv2d):
    """As in EfficientNet of mmpretrain and of timm: padded as TensorFlow does."""

    def forward(self, x):
        pads = [
            max((-(-side // 2) - 1) * 2 + self.kernel_size[0] - side, 0)
            for side in x.shape[:1:-1]
        ]
        around = [half for pad in pads for half in (pad // 2, pad - pad // 2)]
        return super().forward(nn.functional.pad(x, around))


class Shortcut(nn.Module):
    """As in ResNet: two ways of one stride."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(7, 2, 3), nn.MaxPool2d(3, 2, 1))
        self.branch, self.shortcut = conv(3, 2, 1), conv(1, 2, 0)
        self.last = conv(3, 2, 2, dilation=2)

    def forward(self, x):
        x = self.stem(x)
        return self.last(self.branch(x) + self.shortcut(x))


SWIN = dict(type='SwinTransformer', arch='tiny', pad_small_map=True)
BACKBONES = {
    'column': (lambda: nn.Sequential(*(conv(3, 2, 1) for _ in range(4))), 0),
    'patches': (lambda: nn.Sequential(conv(16, 16, 0), conv(3, 1, 1)), 7.5),
    'merging': (Merging, 7.5),
    'shortcut': (Shortcut, 0),
    'same': (
        lambda: nn.Sequential(*(Same(1, 1, k, 2, bias=False) for k in (3, 5, 3, 3))),
        15,
    ),
}


@pytest.mark.parametrize(('build', 'first'), BACKBONES.values(), ids=BACKBONES)
@pytest.mark.parametrize('size', [(96, 128), (96, 112)])
def test_cells_are_placed_where_they_look(build, first, size):
    """A cell is centred on the pixels that change it, by their gradients."""
    backbone = build()
    for weight in backbone.parameters():
        nn.init.ones_(weight)
    image = torch.rand(1, 1, *size, requires_grad=True)
    with watch_steps(backbone) as steps:
        found = backbone(image)
    found[0, 0, 3, 4].backward()
    pixels = image.grad[0, 0].abs()
    looked = pixels.sum(0).nonzero().float().mean()
    row, column = steps.axes(size, found.shape[2:])
    assert column.back(4.5) == 16 * 4 + first + 0.5
    assert row.back(3.5) == 16 * 3 + first + 0.5
    if not isinstance(backbone, Shortcut):  # its pooling passes on one pixel only
        assert looked + 0.5 == column.back(4.5)


@pytest.mark.parametrize('stride', [4, 8, 16, 32])
def test_cells_of_a_column_of_any_stride_are_placed_where_they_look(stride):
    arch = dict(embed_dims=8, depth=1, patch_size=stride)
    stem = PatchConvNet(arch, in_channels=1).stem
    for weight in stem.parameters():
        nn.init.ones_(weight)
    size = (7 * stride, 8 * stride)
    image = torch.rand(1, 1, *size, requires_grad=True)
    with watch_steps(stem) as steps:
        found = stem(image)[-1]
    found[0, 0, 3, 4].backward()
    looked = image.grad[0, 0].abs().sum(0).nonzero().float().mean()
    row, column = steps.axes(size, found.shape[2:])
    assert column.back(4.5) == 4 * stride + 0.5 == looked + 0.5
    assert row.back(3.5) == 3 * stride + 0.5


@pytest.mark.cls
@pytest.mark.parametrize(
    ('settings', 'size', 'stride'),
    [
        (SWIN, 240, 32),
        (SWIN, 100, 32),
        (
            dict(
                type='VisionTransformer',
                arch='deit-tiny',
                img_size=112,
                out_type='featmap',
                patch_cfg=dict(padding='corner'),
            ),
            100,
            16,
        ),
    ],
)
def test_patches_of_a_padded_input_keep_their_size(settings, size, stride):
    from mmpretrain.registry import MODELS

    init_default_scope('mmpretrain')  # other hosts have a Swin too
    backbone = MODELS.build(settings)
    backbone.eval()
    with torch.inference_mode(), watch_steps(backbone) as steps:
        (found,) = backbone(torch.zeros(1, 3, size, size))
    assert set(steps.axes((size, size), found.shape[2:])) == {Axis(1 / stride)}


def test_cells_are_equal_parts_where_layers_do_not_tell():
    with watch_steps(nn.Identity()) as steps:
        pass
    row, column = steps.axes((60, 40), (3, 4))
    assert row == Axis(1 / 20) and column == Axis(1 / 10)


@pytest.mark.cls
def test_a_classifier_of_several_classes_a_picture_has_maps(per_class_dir, tmp_path):
    cfg = read(per_class_dir / 'config.py')
    cfg.model.head.type = 'mmpatchconvnet.PerTokenMultiLabelHead'
    cfg.dump(tmp_path / 'a.py')
    checkpoint = per_class_dir / 'iter_8.pth'
    picture = picture_with_dot(96, 52)
    found = AttentionMap(tmp_path / 'a.py', checkpoint)(picture)
    single = AttentionMap(per_class_dir)(picture)
    np.testing.assert_array_equal(found.raw, single.raw)
    np.testing.assert_array_equal(found.labels, single.labels)
    logits = np.log(found.scores / (1 - found.scores))
    odds = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(odds, single.scores, rtol=1e-4)  # a sigmoid for each


@pytest.mark.cls
def test_a_trained_model_has_the_map_of_its_pooling(work_dir, pictures):
    maps = AttentionMap(work_dir('classifier'))
    found = maps(pictures / '0.png')
    assert not maps.per_class and found.labels is None
    assert found.raw.shape == (4, 4) and 0 < found.raw.sum() < 1
    assert found.scores.shape == (6,) and 0.9 < found.entropy <= 1
    # The first cell of a column is centred on the first of 64 pixels, here 1.5 wide.
    assert found.placement.grid == pytest.approx((-11.25, -7.5, 84.75, 56.5))
    np.testing.assert_allclose(found.map[0, 0], found.raw[0, 0], rtol=1e-5)
    np.testing.assert_allclose(found.map[48, 72], found.raw[3, 3], rtol=1e-2)
    with pytest.raises(ValueError, match='one map for all classes'):
        maps(pictures / '0.png', classes=['ball'])
    with pytest.raises(PictureError, match=r'notes\.txt'):
        maps([pictures / 'notes.txt'])
    with pytest.raises(ValueError, match='has 5 pictures'):
        maps(pictures)


@pytest.mark.cls
def test_each_class_has_a_map(per_class_dir, pictures):
    maps = AttentionMap(per_class_dir)
    found = maps(pictures / '0.png')
    assert found.raw.shape == (6, 4, 4) and found.entropy.shape == (6,)
    np.testing.assert_allclose(found.raw.sum((1, 2)), 1, rtol=1e-5)
    best = np.argsort(-found.scores)[:3]
    assert found.labels.tolist() == best.tolist()
    chosen = maps(pictures / '0.png', classes=['tile', 'ball'])
    assert chosen.labels.tolist() == [5, 0] and chosen.map.shape == (2, 64, 96)
    with pytest.raises(ValueError, match=r"no class 'bal': give .*'ball'"):
        maps(pictures / '0.png', classes=['bal'])
    with pytest.raises(ValueError, match=r"'xyzzy': give one of the 6 .*'ball', "):
        maps.labels_of(['xyzzy'])
    with pytest.raises(ValueError, match='an empty list of classes is given: name'):
        maps.labels_of([])
    assert maps.labels_of('ball').tolist() == [0]
    maps.classes = ['tench, Tinca tinca', 'crane', 'crane', 'yes, sir', 'yes, madam']
    assert maps.labels_of(['Tinca tinca', 'crane']).tolist() == [0, 1, 2]
    assert maps.labels_of(['crane (2)', 'class 5']).tolist() == [2, 5]
    found = maps(pictures / '0.png', classes='yes')
    assert found.labels.tolist() == [3, 4] and to_arrays(found)['score_names'].size == 6
    names = ['tench', 'crane', 'crane (2)', 'yes, sir', 'yes, madam', 'class 5']
    assert [found.short_name(label) for label in range(6)] == names
    shown = {one['name']: one['short'] for one in to_page(found)['maps']}
    assert shown == dict(zip(found.classes, names, strict=True))
    draw_attention(found)


@pytest.mark.cls
@pytest.mark.parametrize(
    ('neck', 'fault'),
    [
        (dict(type='GlobalAveragePooling'), 'its neck is GlobalAveragePooling'),
        (None, 'it has no neck'),
    ],
)
def test_a_model_without_attention_says_what_to_add(neck, fault):
    from small_models import build_model, small_config

    cfg = small_config('classifier')
    cfg.model.neck = neck
    model = build_model(cfg)
    with pytest.raises(ConfigError, match='has no config'):
        AttentionMap(model)
    model.cfg = cfg
    with pytest.raises(ConfigError, match=fault + r'.*in_channels=128\)'):
        AttentionMap(model)
    with pytest.raises(ConfigError, match='device=cuda:77 cannot be used'):
        AttentionMap(model, device='cuda:77')


@pytest.mark.cls
def test_a_map_without_memory_advises_what_helps(maps_with, monkeypatch):
    def fail(x):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    maps = maps_with([])
    monkeypatch.setattr(maps.module.backbone, 'forward', fail)
    with pytest.raises(
        MemoryError, match='picture of 240x160 pixels: use a smaller Re'
    ):
        maps(picture_with_dot(96, 52))


def test_a_map_without_attention_is_everywhere_alike():
    assert entropy(np.zeros((4, 4))) == 1
    each = np.stack([np.zeros((2, 2)), [[1, 0], [0, 0]]])
    assert entropy(each).tolist() == [1, 0]
    assert brightest(np.zeros((4, 4))) == 1


@pytest.mark.det
def test_an_untrained_pooling_shows_nothing(work_dir, pictures):
    folder = work_dir('mask_rcnn')
    with pytest.raises(ConfigError, match='train an AttentionPooling on its frozen'):
        AttentionMap(folder)
    found = AttentionMap(folder, untrained=True)(pictures / '0.png')
    assert found.map.shape == (64, 96) and not found.scores.size
    assert found.entropy > 0.9  # nearly the same everywhere


@pytest.mark.cls
def test_a_pooling_is_not_replaced(work_dir):
    with pytest.raises(ConfigError, match='has its own AttentionPooling'):
        AttentionMap(work_dir('classifier'), untrained=True)
