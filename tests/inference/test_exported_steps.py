"""What exported models need around them equals what the hosts do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmpatchconvnet.inference.exported_steps import (
    apply_step,
    normalize,
    pad,
    paste,
    resize_logits,
)
from mmpatchconvnet.mask_crops import to_masks

IMAGE = np.random.default_rng(0).integers(0, 256, (61, 84, 3), np.uint8)
RESIZES = [
    dict(scale=32),
    dict(scale=(50, 40)),
    dict(scale=(133, 80), keep_ratio=True),
    dict(scale=(80, 133), keep_ratio=True, interpolation='nearest'),
    dict(scale_factor=1.0),
    dict(scale_factor=0.7),
    dict(scale_factor=(0.5, 1.3), interpolation='bicubic'),
    dict(scale=48, backend='pillow', interpolation='lanczos'),
]
OTHERS = [
    dict(type='ResizeEdge', scale=33, edge='short'),
    dict(type='ResizeEdge', scale=50, edge='long', backend='pillow'),
    dict(type='ResizeEdge', scale=40, backend='pillow', interpolation='bicubic'),
    dict(type='ResizeEdge', scale=41, edge='width'),
    dict(type='ResizeEdge', scale=41, edge='height'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='CenterCrop', crop_size=(31, 100)),
]
TURNED = IMAGE.transpose(1, 0, 2).copy()


@pytest.mark.parametrize('image', [IMAGE, TURNED, IMAGE[:60]])
@pytest.mark.parametrize('step', RESIZES, ids=str)
def test_resizing_is_that_of_mmcv(step, image):
    from mmcv.transforms import Resize

    expected = Resize(**step)(dict(img=image))['img']
    np.testing.assert_array_equal(
        apply_step(image, dict(step, type='Resize')), expected
    )


@pytest.mark.cls
@pytest.mark.parametrize('image', [IMAGE, TURNED, IMAGE[:60]])
@pytest.mark.parametrize('step', OTHERS, ids=str)
def test_steps_are_those_of_mmpretrain(step, image):
    from mmpretrain.registry import TRANSFORMS

    transform = TRANSFORMS.build(dict(step, type=f'mmpretrain.{step["type"]}'))
    np.testing.assert_array_equal(
        apply_step(image, step), transform(dict(img=image))['img']
    )


@pytest.mark.det
def test_pictures_are_normalized_and_padded_as_mmdet_does():
    from mmdet.models import DetDataPreprocessor

    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    settings = dict(bgr_to_rgb=True, pad_size_divisor=32, pad_value=3)
    preprocessor = DetDataPreprocessor(mean, std, **settings)
    inputs = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
    expected = preprocessor(dict(inputs=[inputs], data_samples=None))['inputs'][0]
    ours = pad(normalize(IMAGE[..., ::-1], mean, std), 32, 3)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.det
@given(st.integers(0, 9999))
def test_masks_are_pasted_as_mmdet_does(seed):
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    random = np.random.default_rng(seed)
    mask = random.random((28, 28), np.float32)
    x1, y1 = random.uniform(-9, 50, 2)
    width, height = random.uniform(10, 50, 2)
    box = np.array([x1, y1, x1 + width, y1 + height], np.float32)
    boxes, masks = torch.from_numpy(box[None]), torch.from_numpy(mask[None, None])
    part, (rows, columns) = _do_paste_mask(masks, boxes, 61, 84, skip_empty=True)
    expected = torch.zeros(61, 84)
    expected[rows, columns] = part[0]
    (ours,) = to_masks([paste(mask, box, (61, 84), 0.5)], (61, 84))
    # Values at the threshold may fall on either side by rounding.
    clear = (expected - 0.5).abs().numpy() > 1e-4
    np.testing.assert_array_equal(ours[clear], expected.numpy()[clear] >= 0.5)


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('shape', [(7, 9), (14, 30), (3, 40), (1, 1)])
def test_logits_are_resized_as_pytorch_does(shape, align_corners):
    logits = np.random.default_rng(0).standard_normal((4, 7, 9)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(logits)[None], shape, None, 'bilinear', align_corners
    )[0]
    ours = resize_logits(logits, shape, align_corners)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
