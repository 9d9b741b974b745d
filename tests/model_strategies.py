"""Small models and inputs for property tests: any size, width, depth, dtype, layout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mmpatchconvnet import (
    DeconvPyramid,
    PatchConvNet,
    ResizePyramid,
    SimplePyramid,
    TransCNN,
)

SEEDS = st.integers(0, 999)
BATCHES = st.integers(0, 3)
torch.set_printoptions(threshold=10, edgeitems=1)  # of failing examples
FLOATS = (torch.float32, torch.float64, torch.bfloat16)
LAYOUTS = ('contiguous', 'channels_last', 'sliced', 'turned')
VALUES = ('noise', 'constant', 'zero')
ALL_VALUES = (*VALUES, 'large')
STRIDES = (4, 8, 16, 16, 32)  # of columns, most often that of the paper
SCALES = (8, 4, 2, 1, 0.5, 0.25, 0.125)
BATCH_NORM = dict(type='BN')
LAYER_NORM = dict(type='mmpatchconvnet.LayerNorm2d', eps=1e-6)
ONE_GROUP = dict(type='GN', num_groups=1, eps=1e-6)
# Rounding, relative to the largest value.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


class Model(NamedTuple):
    """A class, the arguments of an instance, and what they promise.

    Attributes:
        levels: The channels and the stride of each returned map.
        counts: Whether a norm counts the pictures of a batch.
    """

    kind: Callable[..., nn.Module]
    settings: dict[str, Any]
    levels: tuple[tuple[int, int], ...]
    counts: bool

    def build(self, seed: int = 0, dtype=torch.float64, **changes: Any) -> nn.Module:
        """A new instance, the same for the same seed, whatever the changes."""
        model = self.kind(**{**self.settings, **changes})
        return random_weights(model.to(dtype), seed)


def random_weights(model: nn.Module, seed: int) -> nn.Module:
    """Weights and statistics with which a wrong step changes the results."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if 'running_var' in name:
                value.uniform_(0.5, 2, generator=generator)
            elif 'norm' in name and name.endswith('weight'):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point():
                fan_in = max(1, value[0].numel()) if value.dim() > 1 else 16
                value.normal_(std=fan_in**-0.5, generator=generator)
    return model.eval()


def subsets(count: int, min_size: int = 0) -> st.SearchStrategy[list[int]]:
    """Indices below `count` in any order, some of them counted from the end."""

    def some_negative(indices: list[int]) -> st.SearchStrategy:
        return st.tuples(*(st.sampled_from((i, i - count)) for i in indices))

    indices = st.lists(st.integers(0, count - 1), min_size=min_size, unique=True)
    return indices.flatmap(some_negative).map(list)


@st.composite
def columns(draw: Callable) -> Model:
    """`PatchConvNet` of any width, depth, stride, taps and norm."""
    depth, width = draw(st.integers(1, 3)), draw(st.sampled_from((8, 16, 24)))
    stride = draw(st.sampled_from(STRIDES))
    norm_cfg = draw(st.sampled_from((None, None, BATCH_NORM, LAYER_NORM, ONE_GROUP)))
    taps = draw(subsets(depth, 1))
    stem_maps = [(width // 8, 2), (width // 4, 4), (width // 2, 8), (width, 16)]
    count = {4: 2, 8: 3, 16: 3, 32: 4}[stride]
    stem = draw(subsets(count))
    levels = [stem_maps[i] for i in sorted(j % count for j in stem)]
    return Model(
        PatchConvNet,
        dict(
            arch=dict(embed_dims=width, depth=depth, patch_size=stride),
            in_channels=draw(st.integers(1, 4)),
            out_indices=taps,
            stem_indices=stem,
            channels_last=draw(st.booleans()),
            norm_cfg=norm_cfg,
        ),
        (*levels, *[(width, stride)] * len(taps)),
        norm_cfg is BATCH_NORM,
    )


@st.composite
def transcnns(draw: Callable) -> Model:
    """`TransCNN` of both releases with any width, depth, windows and norm."""

    def four(values: st.SearchStrategy) -> tuple:
        return tuple(draw(st.lists(values, min_size=4, max_size=4)))

    head, revised = draw(st.sampled_from((2, 4))), draw(st.booleans())
    grids, pools = four(st.integers(1, 5)), four(st.integers(1, 4))
    arch = dict(
        head_dims=head,
        embed_dims=tuple(head * n for n in four(st.integers(1, 3))),
        depths=four(st.sampled_from((1, 1, 1, 2))),
        expansions=four(st.integers(1, 3)),
        kernel_sizes=four(st.sampled_from((1, 3, 5))),
        grid_sizes=grids,
        pool_ratios=tuple(p if g > 1 else 1 for g, p in zip(grids, pools, strict=True)),
        revised=revised,
    )
    norm_cfg = draw(st.sampled_from((None, None, BATCH_NORM, LAYER_NORM, ONE_GROUP)))
    taps = draw(subsets(4, 1))
    return Model(
        TransCNN,
        dict(
            arch=arch,
            in_channels=draw(st.integers(1, 4)),
            out_indices=taps,
            channels_last=draw(st.booleans()),
            norm_cfg=norm_cfg,
        ),
        tuple((arch['embed_dims'][i], 4 << i) for i in sorted(j % 4 for j in taps)),
        norm_cfg is BATCH_NORM or (norm_cfg is None and not revised),
    )


@st.composite
def pyramids(draw: Callable) -> Model:
    """A pyramid of any levels, widths and norm, with maps of the stem or without."""
    kind = draw(st.sampled_from((DeconvPyramid, SimplePyramid, ResizePyramid)))
    stride = draw(st.sampled_from(STRIDES))
    scales = draw(st.lists(st.sampled_from(SCALES), min_size=1, unique=True))
    # The stem's maps have at least stride 2 and at most that of the column.
    fine = [scale for scale in scales if 1 <= scale <= stride / 2]
    stem = draw(st.lists(st.sampled_from(fine), max_size=2)) if fine else []
    width = draw(st.sampled_from((8, 16, 24)))
    out = width
    if kind is not ResizePyramid:
        out = draw(st.sampled_from((None, 4, 6))) or width
    norm_cfg = draw(st.sampled_from((None, BATCH_NORM, LAYER_NORM, ONE_GROUP)))
    return Model(
        kind,
        dict(
            in_channels=width,
            out_channels=None if out == width else out,
            scales=scales,
            norm_cfg=norm_cfg,
            stem_channels=draw(st.tuples(*[st.integers(1, 5)] * len(stem))),
            stem_scales=stem,
            patch_size=stride,
        ),
        tuple((out, stride / scale) for scale in scales),
        norm_cfg is BATCH_NORM or (norm_cfg is None and kind is not SimplePyramid),
    )


BACKBONES = columns() | transcnns()


@st.composite
def maps(
    draw: Callable,
    channels: int,
    batches: st.SearchStrategy = BATCHES,
    longest: int = 300,
    dtypes: tuple = (torch.float64,),
    values: tuple = VALUES,
) -> Tensor:
    """Images or maps (B, C, H, W) of any layout in memory and any values.

    Sides have up to `longest` pixels; the other one is then short, to save time.
    """
    batch, height = draw(batches), draw(st.integers(1, longest))
    width = draw(st.integers(1, max(1, min(longest, 15 * longest // height))))
    if draw(st.booleans()):
        height, width = width, height
    dtype, layout = draw(st.sampled_from(dtypes)), draw(st.sampled_from(LAYOUTS))
    generator = torch.Generator().manual_seed(draw(SEEDS))
    x = torch.randn(batch, channels, height, width, generator=generator)
    value = draw(st.sampled_from(values))
    if value in ('constant', 'zero'):
        x = torch.full_like(x, 1.7 * (value == 'constant'))
    elif value == 'large':
        x = 1e4 * x
    x = x.to(dtype)
    if layout == 'channels_last':
        return x.contiguous(memory_format=torch.channels_last)
    if layout == 'sliced':  # every second column of a wider map
        return x.repeat_interleave(2, dim=3)[..., ::2]
    if layout == 'turned':
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    return x


def sizes_of(x: Tensor, strides: list[int]) -> list[tuple[int, int]]:
    """The size of an image at each stride, rounded up."""
    return [(-(-x.shape[2] // s), -(-x.shape[3] // s)) for s in strides]


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal up to rounding: tensors of the same number, shape and dtype, or None."""
    for a, b in zip(ours, theirs, strict=True):
        if b is None or b.dtype == torch.long:
            assert a is b is None or torch.equal(a, b)
            continue
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.numel():
            error, largest = (a - b).abs().max(), b.abs().max()
            assert error <= TOLERANCE[b.dtype] * (largest + 1), (error, largest)
