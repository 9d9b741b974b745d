"""Pictures of any bands and depth can be shown."""

import numpy as np
import pytest

from mmpatchconvnet.visualization.display import to_display


@pytest.mark.parametrize('channels', [None, 1, 2, 3, 5])
@pytest.mark.parametrize('dtype', [bool, np.uint8, np.uint16, np.float32, np.int64])
def test_any_picture_becomes_8_bit_colours(channels, dtype):
    shape = (2, 3) if channels is None else (2, 3, channels)
    values = np.zeros(shape, dtype)
    values[0, 0] = 1 if dtype is bool else 200
    shown = to_display(values)
    assert shown.shape == (2, 3, 3) and shown.dtype == np.uint8
    assert shown[0, 0].tolist() == [200 if dtype is np.uint8 else 255] * 3
    assert not shown[1:].any()


def test_colours_are_reversed_and_what_is_no_number_is_black():
    values = np.array([[[np.nan, 5.0, 10.0], [0.0, -np.inf, np.inf]]], np.float32)
    assert to_display(values, reverse=True).tolist() == [[[255, 128, 0], [255, 0, 0]]]
    assert not to_display(np.full((2, 2), np.nan)).any()
    with pytest.raises(ValueError, match=r'shape \(3,\)'):
        to_display(np.zeros(3))
