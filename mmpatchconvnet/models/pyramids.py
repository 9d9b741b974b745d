"""Necks that turn the maps of a column, all of one stride, into a pyramid.

- `DeconvPyramid`: one operation for each tap, the recipe of XCiT
  (https://github.com/facebookresearch/xcit) and BEiT, which the authors of PatchConvNet
  point to in https://github.com/facebookresearch/deit/issues/138.
- `SimplePyramid`: all levels from the last map, as in ViTDet,
  Li et al. 2022, https://arxiv.org/abs/2203.16527
- `ResizePyramid`: bilinear resize and max-pool without parameters, the baseline.

All three have the same arguments and work with any column of one width and stride.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmpatchconvnet.checkpoints.stems import STRIDES
from mmpatchconvnet.models.strict_init import StrictModule
from mmpatchconvnet.registry import MODELS

SCALES = (8, 4, 2, 1, 0.5, 0.25, 0.125)


class Pyramid(StrictModule):
    """Base class of the three pyramids; each implements `build_level`.

    Args:
        in_channels: Width C of the column.
        out_channels: Width of every level; None keeps C.
        scales: Size of each level relative to the taps, a power of two from 8 to 1/8.
            None is the strides 4, 8, 16 and 32: (4, 2, 1, 0.5) behind a column
            of stride 16, (2, 1, 0.5, 0.25) for one of stride 8.
        norm_cfg: Norm between and after convolutions, also for the stem's maps. None is
            BatchNorm, and in `SimplePyramid` LayerNorm, as in ViTDet.
        stem_channels: Widths of the stem's maps, which come before the taps, finest
            first. Each is projected by a 1x1 convolution with norm (the stem has no
            norm, so its values are small) and added to its level. This gives small
            objects the detail that the column has lost.
        stem_scales: The scales of their levels; None means the first ones of `scales`,
            so `stem_channels=(C / 4, C / 2)` are the strides 4 and 8.
        patch_size: Stride of the column, see `PatchConvNet`.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: An unknown scale, or a `patch_size` without levels of these strides;
            stem maps without a level; a wrong number, width or size of maps in
            `forward`.
    """

    default_norm: dict = dict(type='BN')

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        scales: Sequence[float] | None = None,
        norm_cfg: dict | None = None,
        stem_channels: Sequence[int] = (),
        stem_scales: Sequence[float] | None = None,
        patch_size: int = 16,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.name = type(self).__name__
        # Named scales fit a column of any stride.
        self.patch_size = patch_size if scales is None else None
        if scales is None:
            if patch_size not in STRIDES:
                raise ValueError(
                    f'{self.name} has patch_size={patch_size}: give the stride of the '
                    f'column, one of {STRIDES}, or name the scales.'
                )
            scales = [scale_of(stride, patch_size) for stride in STRIDES]
        unknown = [scale for scale in scales if scale not in SCALES]
        if unknown or not scales or len(set(scales)) < len(scales):
            raise ValueError(
                f'{self.name} cannot make scales={tuple(scales)}: choose from '
                f'{SCALES}, each once.'
            )
        if stem_scales is None:
            stem_scales = scales[: len(stem_channels)]
        if len(stem_scales) != len(stem_channels) or not set(stem_scales) <= set(
            scales
        ):
            raise ValueError(
                f'{self.name} cannot add stem_channels={tuple(stem_channels)} to '
                f'stem_scales={tuple(stem_scales)}: give one of scales={tuple(scales)} '
                'for each.'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels or in_channels
        self.scales = tuple(scales)
        self.stem_channels = tuple(stem_channels)
        self.stem_scales = tuple(stem_scales)
        norm_cfg = norm_cfg or self.default_norm
        self.levels = nn.ModuleList(self.build_level(s, norm_cfg) for s in scales)
        self.stem_projections = nn.ModuleList(
            named_sequential(
                conv=nn.Conv2d(width, self.out_channels, 1, bias=False),
                norm=build_norm_layer(norm_cfg, self.out_channels)[1],
            )
            for width in stem_channels
        )

    def build_level(self, scale: float, norm_cfg: dict) -> nn.Module:
        """The operation that makes the level of a scale from its tap."""
        raise NotImplementedError

    @property
    def num_taps(self) -> tuple[int, ...]:
        """The numbers of taps that it accepts: here one for each level."""
        return (len(self.scales),)

    def level_inputs(self, taps: Sequence[Tensor]) -> Sequence[Tensor]:
        """The tap of each level: here the i-th tap makes the i-th level."""
        return taps

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """
        Args:
            inputs: The stem's maps, if any, then the taps (B, C, H, W).

        Returns:
            One map (B, out_channels, H * scale, W * scale) for each of `scales`,
            rounded up at scale 0.5.
        """
        self.check_inputs(inputs)
        num_stem = len(self.stem_projections)
        stem_maps, taps = inputs[:num_stem], self.level_inputs(inputs[num_stem:])
        outputs = [level(tap) for level, tap in zip(self.levels, taps, strict=True)]
        for scale, projection, stem_map in zip(
            self.stem_scales, self.stem_projections, stem_maps, strict=True
        ):
            i = self.scales.index(scale)
            outputs[i] = outputs[i] + self.pad_to_level(
                projection(stem_map), outputs[i], scale
            )
        return tuple(outputs)

    def pad_to_level(self, stem_map: Tensor, level: Tensor, scale: float) -> Tensor:
        """Pad the stem's map to its level, which may be larger by rounding."""
        pad_h = level.shape[2] - stem_map.shape[2]
        pad_w = level.shape[3] - stem_map.shape[3]
        if not (0 <= pad_h < scale and 0 <= pad_w < scale):
            raise ValueError(
                f'{self.name} cannot add a stem map of {tuple(stem_map.shape[2:])} to '
                f'its level of scale {scale}, {tuple(level.shape[2:])}: name the level '
                'of its stride in stem_scales.'
            )
        return F.pad(stem_map, (0, pad_w, 0, pad_h))

    def check_inputs(self, inputs: Sequence[Tensor]) -> None:
        """Raise unless the number and widths of the maps are as built."""
        num_stem = len(self.stem_projections)
        allowed = [num_stem + n for n in self.num_taps]
        if isinstance(inputs, Tensor) or len(inputs) not in allowed:
            given = '1 tensor' if isinstance(inputs, Tensor) else f'{len(inputs)} maps'
            raise ValueError(
                f'{self.name} got {given} but needs {" or ".join(map(str, allowed))} '
                f'({num_stem} of the stem and {self.num_taps[-1]} taps): set '
                'out_indices and stem_indices of the backbone to match scales and '
                'stem_channels.'
            )
        given_widths = [x.shape[1] for x in inputs]
        num_taps = len(inputs) - num_stem
        widths = [*self.stem_channels, *[self.in_channels] * num_taps]
        if given_widths != widths:
            raise ValueError(
                f'{self.name} got maps of {given_widths} channels but was built for '
                f'{widths}: set in_channels and stem_channels to the widths of the '
                'backbone.'
            )


def scale_of(stride: int, patch_size: int) -> float:
    """The scale of the level of a stride, behind a column of stride `patch_size`."""
    return patch_size // stride if patch_size >= stride else patch_size / stride


def num_doublings(scale: float) -> int:
    """How often a scale above 1 doubles the size; 0 for others."""
    return max(int(scale).bit_length() - 1, 0)


def named_sequential(**steps: nn.Module) -> nn.Sequential:
    """A Sequential with named parts; checkpoints depend on the names."""
    return nn.Sequential(OrderedDict(steps))


def upsample(in_channels: int, out_channels: int) -> nn.Module:
    """Twice the size by a transposed convolution."""
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)


def upsampling(widths: Sequence[int], norm_cfg: dict) -> dict[str, nn.Module]:
    """Transposed convolutions from width to width, with norm and GELU between."""
    steps: dict[str, nn.Module] = {}
    count = len(widths) - 1
    for number, (width, out) in enumerate(pairwise(widths), 1):
        steps[f'up{number}' if count > 1 else 'up'] = upsample(width, out)
        if number < count:
            prefix = f'up{number}_' if number > 1 else ''
            steps[f'{prefix}norm'] = build_norm_layer(norm_cfg, out)[1]
            steps[f'{prefix}act'] = nn.GELU()
    return steps


def downsample(scale: float) -> nn.Module:
    """A part of the size, rounded up, so that the smallest map keeps a cell."""
    size = round(1 / scale)
    return nn.MaxPool2d(size, stride=size, ceil_mode=True)


def project(in_channels: int, out_channels: int) -> nn.Module:
    """A 1x1 convolution if the width changes, else the identity."""
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, 1)


@MODELS.register_module()
class DeconvPyramid(Pyramid):
    """One operation for each tap: the first tap makes the first level.

    Scale 8 is three transposed convolutions with norm and GELU between, 4 is two, 2 is
    one, 1 is the tap itself and smaller ones are a max-pool; the last two get a 1x1
    convolution if `out_channels` differs from `in_channels`. Arguments: see `Pyramid`.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import DeconvPyramid
        >>> taps = [torch.rand(1, 32, 7, 9) for _ in range(4)]
        >>> stem_maps = [torch.rand(1, 8, 25, 36), torch.rand(1, 16, 13, 18)]
        >>> neck = DeconvPyramid(in_channels=32, stem_channels=(8, 16))
        >>> for x in neck([*stem_maps, *taps]):
        ...     print(tuple(x.shape))
        (1, 32, 28, 36)
        (1, 32, 14, 18)
        (1, 32, 7, 9)
        (1, 32, 4, 5)
    """

    def build_level(self, scale: float, norm_cfg: dict) -> nn.Module:
        width, out = self.in_channels, self.out_channels
        if scale > 1:
            widths = [width] * num_doublings(scale) + [out]
            return named_sequential(**upsampling(widths, norm_cfg))
        pool = dict(pool=downsample(scale)) if scale < 1 else {}
        return named_sequential(**pool, project=project(width, out))


@MODELS.register_module()
class SimplePyramid(Pyramid):
    """All levels from the last tap; earlier taps are accepted but not used.

    Transposed convolutions that halve the width at each step, with norm and GELU
    between, or a max-pool, then a 1x1 and a 3x3 convolution, each with its norm.
    Arguments: see `Pyramid`; `norm_cfg` is LayerNorm unless given, and `in_channels` is
    a multiple of the largest scale.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import SimplePyramid
        >>> neck = SimplePyramid(in_channels=32, out_channels=16)
        >>> [tuple(x.shape) for x in neck([torch.rand(2, 32, 6, 8)])]
        [(2, 16, 24, 32), (2, 16, 12, 16), (2, 16, 6, 8), (2, 16, 3, 4)]
    """

    default_norm: dict = dict(type='mmpatchconvnet.LayerNorm2d', eps=1e-6)

    @property
    def num_taps(self) -> tuple[int, ...]:
        return (1, len(self.scales))

    def level_inputs(self, taps: Sequence[Tensor]) -> Sequence[Tensor]:
        return [taps[-1]] * len(self.scales)

    def build_level(self, scale: float, norm_cfg: dict) -> nn.Module:
        def norm(width: int) -> nn.Module:
            return build_norm_layer(norm_cfg, width)[1]

        out = self.out_channels
        if scale > 1 and self.in_channels % scale:
            raise ValueError(
                f'{self.name} halves in_channels={self.in_channels} at each upsampling '
                f'to scale {scale}: give a multiple of {scale}.'
            )
        widths = [self.in_channels >> i for i in range(num_doublings(scale) + 1)]
        resize = upsampling(widths, norm_cfg)
        if scale < 1:
            resize = dict(pool=downsample(scale))
        return named_sequential(
            **resize,
            conv1=nn.Conv2d(widths[-1], out, 1, bias=False),
            norm1=norm(out),
            conv2=nn.Conv2d(out, out, 3, padding=1, bias=False),
            norm2=norm(out),
        )


@MODELS.register_module()
class ResizePyramid(Pyramid):
    """Bilinear resize or max-pool of each tap, without parameters: the baseline.

    Arguments: see `Pyramid`; `out_channels` cannot differ from `in_channels`. Stem
    maps, if used, still have their 1x1 convolution and norm.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import ResizePyramid
        >>> taps = [torch.rand(1, 32, 6, 8) for _ in range(2)]
        >>> [tuple(x.shape) for x in ResizePyramid(32, scales=(2, 0.5))(taps)]
        [(1, 32, 12, 16), (1, 32, 3, 4)]
    """

    def build_level(self, scale: float, norm_cfg: dict) -> nn.Module:
        if self.out_channels != self.in_channels:
            raise ValueError(
                f'ResizePyramid has no parameters to turn {self.in_channels} channels '
                f'into out_channels={self.out_channels}: leave it out, or use '
                'DeconvPyramid.'
            )
        if scale > 1:
            return nn.Upsample(scale_factor=scale, mode='bilinear')
        return downsample(scale) if scale < 1 else nn.Identity()
