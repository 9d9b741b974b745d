import numpy as np
import pycocotools.mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmpatchconvnet.inference.outputs import to_rle
from mmpatchconvnet.mask_crops import to_crop, to_masks

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(masks, st.integers(0, 3), st.integers(0, 3))
def test_a_crop_holds_the_whole_mask_at_its_place(mask, x, y):
    full = np.pad(mask, [(y, 2), (x, 1)])
    crop = to_crop(mask, x, y)
    np.testing.assert_array_equal(to_masks([crop], full.shape)[0], full)
    assert crop.area == mask.sum()
    assert not crop.area or (crop.mask[0].any() and crop.mask[:, -1].any())


@given(masks, st.integers(0, 3), st.integers(0, 3))
def test_pycocotools_reads_the_encoding(mask, x, y):
    full = np.pad(mask, [(y, 2), (x, 1)])
    rle = to_rle(to_crop(mask, x, y), full.shape)
    np.testing.assert_array_equal(pycocotools.mask.decode(rle), full)
    assert pycocotools.mask.area(rle) == mask.sum()
