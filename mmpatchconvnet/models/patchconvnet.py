"""PatchConvNet: a convolutional stem, then a column of equal blocks at one stride.

Paper: "Augmenting convolutional networks with attention-based aggregation",
Touvron et al. 2021, https://arxiv.org/abs/2112.13692
Official code (classifier only): https://github.com/facebookresearch/deit

The column here is only the trunk. The paper's attention pooling is the neck
`AttentionPooling`, and `pyramids.py` turns the maps into a pyramid, so that no task
builds a parameter that it does not train.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.checkpoints import CheckpointError
from mmpatchconvnet.checkpoints.stems import STRIDES, fit_stem
from mmpatchconvnet.models.backbone import (
    Backbone,
    check_arguments,
    keys_of,
    resolve_indices,
)
from mmpatchconvnet.models.block.eager import PatchConvBlock
from mmpatchconvnet.models.block.folded import (
    FoldedBlock,
    FoldedStem,
    stem_steps,
    why_not_folded,
)
from mmpatchconvnet.models.layers import check_map
from mmpatchconvnet.models.plain import difference
from mmpatchconvnet.models.recompute import recompute
from mmpatchconvnet.registry import MODELS

# The letter is the width, the number the depth; only s60 starts its LayerScale at 1e-4.
ARCHITECTURES: dict[str, dict] = {
    's60': dict(embed_dims=384, depth=60, layer_scale_init_value=1e-4),
    's120': dict(embed_dims=384, depth=120, layer_scale_init_value=1e-6),
    'b60': dict(embed_dims=768, depth=60, layer_scale_init_value=1e-6),
    'b120': dict(embed_dims=768, depth=120, layer_scale_init_value=1e-6),
    'l60': dict(embed_dims=1024, depth=60, layer_scale_init_value=1e-6),
    'l120': dict(embed_dims=1024, depth=120, layer_scale_init_value=1e-6),
}


class ConvStem(nn.Module):
    """3x3 convolutions of stride 2 without bias, GELU between but not after.

    Stride 16, that of the paper, has four, C/8, C/4, C/2 and C wide; stride 32 has one
    more. Smaller strides have the first ones of the four and a 1x1 convolution to C,
    so that the weights of stride 16 fit them.

    A map (B, in_channels, H, W) becomes (B, C, ceil(H / P), ceil(W / P)) with C =
    embed_dims and P = patch_size.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int = 16) -> None:
        super().__init__()
        count = patch_size.bit_length() - 1
        widths = [in_channels, *(embed_dims // d for d in (8, 4, 2, 1, 1)[:count])]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False)
            for i, o in pairwise(widths)
        )
        self.projection = (
            nn.Conv2d(widths[-1], embed_dims, 1, bias=False)
            if patch_size < 16
            else None
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 2, 4 and so on, after their GELU, and of stride P."""
        *inner, last = stem_steps(self)
        maps = []
        for conv in inner:
            x = F.gelu(conv(x))
            maps.append(x)
        return [*maps, last(x)]


@MODELS.register_module()
class PatchConvNet(Backbone):
    """The PatchConvNet column, a backbone for classifiers, detectors and segmentors.

    Every map it returns has the width of the column and its stride P, whatever the
    height and width of the image: a side of n pixels becomes ceil(n / P) cells. The
    necks `DeconvPyramid`, `SimplePyramid` and `ResizePyramid` make maps of other
    strides. P is 16 in the paper. With 8, small objects keep more detail, at four times
    the work (XCiT gains 1.7 box AP on COCO, https://arxiv.org/abs/2106.09681).

    Args:
        arch: `s60`, `s120`, `b60`, `b120`, `l60`, `l120`, or a dict with `embed_dims`
            (a multiple of 8), `depth` and, if wanted, `layer_scale_init_value` (1e-4)
            and `patch_size` P, the stride of the column: 4, 8, 16 (default) or 32.
        in_channels: Channels of the image.
        out_indices: The blocks whose output is returned, in order of depth; negative
            ones count from the end. Blocks after the last of them are not built, so
            that every block gets a gradient.
        stem_indices: Maps of the stem to return before the taps: 0 is stride 2 with
            C/8 channels, 1 is stride 4 with C/4, 2 is stride 8 with C/2, 3 is stride 16
            with C. P = 4 has the first two, 8 and 16 the first three, 32 all four.
        frozen_stages: -1 trains everything, 0 freezes the stem, k the stem and the
            first k blocks. Frozen parts stay in eval mode.
        drop_path_rate: Stochastic depth, in [0, 1), the same for every block.
        with_cp: Recompute blocks in the backward pass to save memory: True one by
            one, a number k in groups of k blocks, of which only the input is kept.
        block_impl: How blocks are computed, all equal up to rounding. `eager` is the
            reference. `lean` keeps three maps of each block for the backward pass
            instead of eight, see `block/lean.py`. `triton` does so too and runs the
            second half of each block in Triton kernels where there is a GPU. The last
            two need LayerNorm.
        channels_last: Convert the stem's map to channels-last memory, so that no norm
            copies its map. The returned maps have the memory format of the image.
        norm_cfg: Norm of the blocks; None is the LayerNorm of all released models.
        init_cfg: Initialization of mmengine, such as
            `dict(type='Pretrained', checkpoint=..., prefix='backbone.')`. A checkpoint
            must fit, except for the blocks after the last tap, which are not built, and
            for the end of the stem if it is of another stride; the log says what is
            new.

    Raises:
        ValueError: An unknown `arch` or `block_impl`, an index, rate or stage out of
            range, or an image that is empty or has other channels.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import PatchConvNet
        >>> arch = dict(embed_dims=32, depth=4)
        >>> column = PatchConvNet(arch, out_indices=(1, 3), stem_indices=(1, 2))
        >>> for x in column(torch.rand(1, 3, 64, 250)):
        ...     print(tuple(x.shape))
        (1, 8, 16, 63)
        (1, 16, 8, 32)
        (1, 32, 4, 16)
        (1, 32, 4, 16)
    """

    parts = 'blocks'

    def __init__(
        self,
        arch: str | dict = 's60',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        stem_indices: int | Sequence[int] = (),
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool | int = False,
        block_impl: str = 'eager',
        channels_last: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        settings = resolve_arch(arch)
        depth = settings['depth']
        self.in_channels = in_channels
        self.embed_dims: int = settings['embed_dims']
        self.patch_size: int = settings['patch_size']
        self.out_indices = resolve_indices('out_indices', out_indices, depth)
        self.stem: nn.Module = ConvStem(in_channels, self.embed_dims, self.patch_size)
        num_stem_maps = len(stem_steps(self.stem)) - 1
        self.stem_indices = resolve_indices('stem_indices', stem_indices, num_stem_maps)
        check_arguments(
            self.parts,
            depth,
            self.out_indices,
            frozen_stages,
            drop_path_rate,
            with_cp,
        )
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.channels_last = channels_last

        self.blocks = nn.ModuleList(
            PatchConvBlock(
                self.embed_dims,
                settings['layer_scale_init_value'],
                drop_path_rate,
                norm_cfg,
                block_impl,
            )
            for _ in range(self.out_indices[-1] + 1)
        )
        # A checkpoint holds the blocks behind the last tap too.
        self.optional_keys = keys_of('blocks', range(len(self.blocks), depth))
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            x: Images (B, in_channels, H, W), any H and W from 1 on.

        Returns:
            The stem's maps (B, C/4, ceil(H/4), ceil(W/4)) and so on, then one map
            (B, C, ceil(H/P), ceil(W/P)) for each of `out_indices`.
        """
        check_map(x, 'PatchConvNet', 'images', self.in_channels)
        # A column folded in half precision gets its images in float32.
        stem_maps = self.stem(x.to(next(self.parameters()).dtype))
        outputs = [stem_maps[i] for i in self.stem_indices]
        x = stem_maps[-1]
        contiguous = x.is_contiguous()
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        depth = len(self.blocks)
        step = int(self.with_cp) if torch.is_grad_enabled() else 0
        for first in range(0, depth, step or depth):
            if step:
                group = range(first, min(first + step, depth))
                blocks = self.blocks[first : first + step]
                x, taps = recompute(self._run_blocks, blocks, x, group)
            else:
                x, taps = self._run_blocks(x, range(depth))
            outputs += taps
        if contiguous:  # like the image: compiled ops of mmcv need it
            outputs = [x.contiguous() for x in outputs]
        return tuple(outputs)

    def _run_blocks(self, x: Tensor, group: range) -> tuple[Tensor, list[Tensor]]:
        """The map (B, C, H, W) after a group of blocks, and the taps among them."""
        taps = []
        for i in group:
            x = self.blocks[i](x)
            if i in self.out_indices:
                taps.append(x)
        return x, taps

    def fit_weights(self, path: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a column of another stride; the end of the stem stays as it is."""
        fitted = fit_stem(path, weights, self.state_dict())
        if self.frozen_stages >= 0 and fitted.keys() != weights.keys():
            raise CheckpointError(
                f'{path} is of a column of another stride, so the end of the stem is '
                f'new, but frozen_stages={self.frozen_stages} freezes it untrained: '
                'set frozen_stages=-1.'
            )
        return fitted

    def foldable(self) -> dict[str, list[str]]:
        stem = [] if isinstance(self.stem, FoldedStem) else ['stem']
        blocks = [f'blocks.{i}' for i in range(len(self.blocks))]
        return {'the stem': stem, 'blocks': blocks}

    def why_not_folded(self, part: nn.Module) -> str:
        if part is not self.stem:
            return why_not_folded(part)
        with torch.device('meta'):
            reference = ConvStem(self.in_channels, self.embed_dims, self.patch_size)
        return difference(part, reference)

    def fold(self, part: nn.Module) -> nn.Module:
        return FoldedStem(part) if part is self.stem else FoldedBlock(part)

    @property
    def num_blocks(self) -> int:
        """Number of blocks that are built."""
        return len(self.blocks)

    def block_number(self, name: Sequence[str]) -> int:
        return int(name[0])


def resolve_arch(arch: str | dict) -> dict:
    """The settings of a named architecture, or a checked copy of given settings."""
    if isinstance(arch, str):
        if arch.lower() not in ARCHITECTURES:
            raise ValueError(
                f'arch={arch!r} is unknown: give one of {", ".join(ARCHITECTURES)}, or '
                'dict(embed_dims=..., depth=...).'
            )
        arch = ARCHITECTURES[arch.lower()]
    settings = {'layer_scale_init_value': 1e-4, 'patch_size': 16, **arch}
    if set(settings) != {'embed_dims', 'depth', 'layer_scale_init_value', 'patch_size'}:
        raise ValueError(
            f'arch has the keys {sorted(arch)}: give embed_dims, depth and, if wanted, '
            'layer_scale_init_value and patch_size.'
        )
    if settings['patch_size'] not in STRIDES:
        raise ValueError(
            f'patch_size={settings["patch_size"]} is no stride of the column: give one '
            f'of {", ".join(map(str, STRIDES))}.'
        )
    if settings['embed_dims'] < 8 or settings['embed_dims'] % 8:
        raise ValueError(
            f'embed_dims={settings["embed_dims"]} does not fit the stem, which starts '
            'with an eighth of it: give a multiple of 8.'
        )
    if settings['depth'] < 1:
        raise ValueError(f'depth={settings["depth"]} leaves no block: give at least 1.')
    return settings
