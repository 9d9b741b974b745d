from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpatchconvnet.inference.results import Objects
from mmpatchconvnet.inference.tiling import (
    check_tile,
    detect_tiles,
    segment_tiles,
    spans,
    usual_overlap,
)
from mmpatchconvnet.mask_crops import to_crop, to_masks

tiles = st.integers(32, 64).flatmap(
    lambda tile: st.tuples(st.just(tile), st.integers(0, tile // 4))
)


@given(st.integers(1, 500), tiles)
def test_spans_cover_a_length_and_overlap(length, tile_and_overlap):
    tile, overlap = tile_and_overlap
    found = spans(length, tile, overlap)
    assert found[0][0] == 0 and found[-1][1] == length
    assert all(0 < end - start <= tile for start, end in found)
    for (_, end), (start, _) in pairwise(found):
        assert end - start >= overlap
    for (_, end), (start, _) in zip(found, found[2:], strict=False):
        assert end <= start  # no pixel is in three tiles


@pytest.mark.parametrize(('tile', 'overlap'), [(31, 0), (64, 17), (64, -1)])
def test_tiles_that_cannot_be_merged_are_refused(tile, overlap):
    with pytest.raises(ValueError, match=rf'{tile} pixels .* {overlap} .*a quarter'):
        check_tile(tile, overlap)


@given(st.integers(20, 150), st.integers(20, 150), tiles, st.integers(0, 99))
def test_logits_are_averaged_where_tiles_overlap(height, width, tile_and_overlap, seed):
    random = np.random.default_rng(seed)
    picture = random.random((height, width, 3), np.float32)
    seen = []

    def logits_of(image):
        seen.append((image, random.random((4, *image.shape[:2]), np.float32)))
        return seen[-1][1].copy()

    label_map = segment_tiles(picture, *tile_and_overlap, logits_of)
    total = np.zeros((4, height, width), np.float32)
    for image, logits in seen:
        (y, x) = np.argwhere((picture == image[0, 0]).all(-1))[0]
        total[:, y : y + image.shape[0], x : x + image.shape[1]] += logits
    np.testing.assert_array_equal(label_map, total.argmax(0))


@pytest.mark.parametrize(('tile', 'overlap'), [(1024, 128), (256, 64), (32, 8)])
def test_the_usual_overlap_fits_any_tile(tile, overlap):
    assert usual_overlap(tile) == overlap
    check_tile(tile, overlap)


def squares(picture):
    """Each class's connected pixels that are alone in their class: one object each."""
    labels = [label for label in np.unique(picture[..., 0]) if label]
    masks = [picture[..., 0] == label for label in labels]
    crops = [to_crop(mask) for mask in masks]
    boxes = [(c.x, c.y, c.x + c.mask.shape[1], c.y + c.mask.shape[0]) for c in crops]
    return (
        np.array(labels, int) % 2,
        np.array([mask.sum() / 1e4 for mask in masks], np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
        crops,
    )


@pytest.mark.parametrize('with_masks', [True, False])
@given(seed=st.integers(0, 999))
def test_objects_at_seams_are_found_once(with_masks, seed):
    """Tiles see parts of objects; merged, they are the objects of the whole picture."""
    random = np.random.default_rng(seed)
    picture = np.zeros((170, 200, 3), np.uint8)
    # One object in each cell of a grid, so that objects do not overlap.
    for number, (row, column) in enumerate(np.ndindex(4, 5), 1):
        top, left = (
            42 * row + random.integers(0, 9),
            40 * column + random.integers(0, 9),
        )
        height, width = random.integers(20, 31, 2)
        picture[top : top + height, left : left + width] = number

    def detect(image):
        labels, scores, boxes, crops = squares(image)
        # An object of which a tile sees a sliver is often not found.
        kept = [i for i, crop in enumerate(crops) if min(crop.mask.shape) > 3]
        crops = [crops[i] for i in kept] if with_masks else None
        return Objects(labels[kept], scores[kept], boxes[kept], crops)

    whole, merged = detect(picture), detect_tiles(picture, 64, 16, detect)
    assert (np.diff(merged.scores) <= 0).all()
    ours, theirs = (np.lexsort(x.boxes.T) for x in (merged, whole))
    np.testing.assert_array_equal(merged.boxes[ours], whole.boxes[theirs])
    np.testing.assert_array_equal(merged.labels[ours], whole.labels[theirs])
    if with_masks:
        size = picture.shape[:2]
        np.testing.assert_array_equal(
            to_masks(merged.crops, size)[ours], to_masks(whole.crops, size)[theirs]
        )


def test_neighbours_in_one_tile_stay_apart():
    """Two cells of one class that touch, both across a seam, stay two."""
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[5:20, 40:60], picture[20:35, 40:60] = 1, 3
    merged = detect_tiles(picture, 64, 16, lambda image: Objects(*squares(image)))
    assert merged.boxes.tolist() == [[40, 5, 60, 20], [40, 20, 60, 35]]


def test_a_picture_without_objects():
    picture = np.zeros((100, 100, 3), np.uint8)
    merged = detect_tiles(picture, 64, 16, lambda image: Objects(*squares(image)))
    assert merged.boxes.shape == (0, 4) and merged.crops == []
