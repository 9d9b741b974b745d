"""mmseg's UPerHead with its 3x3 bottlenecks at the maps' own resolution."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import UPerHead
from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from mmpatchconvnet.models.plain import has_hooks
from mmpatchconvnet.models.recompute import recompute
from mmpatchconvnet.models.upsampled_conv import add_convs_upsampled, resize
from mmpatchconvnet.models.winograd import conv3x3


class FastUPerHead(UPerHead):
    """`mmseg.UPerHead` with the same arguments, parameters, state dict and results.

    The head of UperNet (`Unified Perceptual Parsing for Scene Understanding
    <https://arxiv.org/abs/1807.10221>`_) upsamples all its maps to the finest one and
    convolves them together; that 3x3 convolution is most of its work. Here each map is
    convolved before it is upsampled (`models/upsampled_conv.py`), which gives the same
    result up to rounding, for training and inference, and no upsampled map exists. The
    pooled maps of its pyramid pooling are treated alike. On a CPU, large 3x3
    convolutions in float32 take Winograd's method (`models/winograd.py`).

    In training, only the results of the 3x3 convolutions are kept for the backward
    pass, which computes laterals, norms, activations and dropout again. The head cannot
    be differentiated twice.

    A map for which this takes more multiplications than the plain order, as it is
    hardly smaller or has few channels, takes the plain order; so does a bottleneck that
    is not a plain convolution (`conv_cfg`, hooks).

    Args:
        settings: Those of `mmseg.UPerHead`.

    Shape:
        - inputs: sequence of (B, C_i, H_i, W_i), of which `in_index` are used
        - returns: (B, num_classes, H, W), the size of the first used map

    Example:
        >>> import torch
        >>> from mmpatchconvnet import FastUPerHead
        >>> head = FastUPerHead(
        ...     in_channels=[8, 8], in_index=[0, 1], channels=16, num_classes=3
        ... )
        >>> head([torch.rand(2, 8, 32, 32), torch.rand(2, 8, 16, 16)]).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify each pixel.

        Returns:
            (B, num_classes, H, W), the size of the first used map.
        """
        own_features = type(self)._forward_feature is FastUPerHead._forward_feature
        last_parts = [part for part in (self.dropout, self.conv_seg) if part]
        if not own_features or any(map(has_hooks, last_parts)):
            return super().forward(inputs)  # nothing is called twice
        return self.recomputed(
            lambda x: self.cls_seg(finish(self.fpn_bottleneck, x)),
            [self.fpn_bottleneck],
            self.merged(inputs),
        )

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        return finish(self.fpn_bottleneck, self.merged(inputs))

    def psp_forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Pool the last map to several sizes, and merge them with it.

        Returns:
            (B, channels, H, W), the size of the last map.
        """
        last = inputs[-1].contiguous(memory_format=torch.channels_last)
        if type(self.psp_modules) is not PPM:
            return super().psp_forward([last])
        pooled = [pool(last) for pool in self.psp_modules]
        return finish(self.bottleneck, self.merge(self.bottleneck, last, pooled))

    def merged(self, inputs: Sequence[Tensor]) -> Tensor:
        """The output of the convolution of `fpn_bottleneck`, see `finish`."""
        return self.merge(
            self.fpn_bottleneck, *self.pyramid(self._transform_inputs(inputs))
        )

    def pyramid(
        self, inputs: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], ConvModule | None]:
        """What `fpn_bottleneck` merges.

        Returns:
            The finest map, the others from fine to coarse, and the module that has to
            `finish` the finest map, or None.
        """
        top = finest = self.psp_forward(inputs)
        others: list[Tensor] = []
        last = None
        levels = zip(inputs, self.lateral_convs, self.fpn_convs, strict=False)
        for x, lateral, fpn_conv in reversed([*levels]):
            others.insert(0, finish(last, finest))
            level = partial(self.level, lateral, fpn_conv)
            top, finest = self.recomputed(level, [lateral, fpn_conv], x, top)
            last = fpn_conv
        return finest, others, last

    def level(
        self, lateral: ConvModule, fpn_conv: ConvModule, x: Tensor, top: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One level of the pyramid, and its convolution."""
        # A copy before the lateral would keep a pyramid from being folded with it.
        x = lateral(x).contiguous(memory_format=torch.channels_last)
        top = x + resize(top, x.shape[2:], self.align_corners)
        if not is_plain(fpn_conv):
            return top, fpn_conv(top)
        return top, conv3x3(top, fpn_conv.conv.weight, fpn_conv.conv.bias)

    def merge(
        self,
        module: ConvModule,
        first: Tensor,
        others: Sequence[Tensor],
        before: ConvModule | None = None,
    ) -> Tensor:
        """The convolution of a bottleneck, of maps as if resized to the first one.

        Args:
            module: The bottleneck.
            first: (B, C, H, W).
            others: Each (B, C_i, H_i, W_i).
            before: What has to `finish` the first map.

        Returns:
            (B, channels, H, W), to `finish`.
        """
        if not is_plain(module):
            maps = [finish(before, first), *others]
            size = first.shape[2:]
            return module(
                torch.cat([resize(x, size, self.align_corners) for x in maps], 1)
            )
        conv = module.conv
        widths = [x.shape[1] for x in (first, *others)]
        weight, *weights = conv.weight.split(widths, dim=1)

        def convolve(x: Tensor) -> Tensor:
            return conv3x3(finish(before, x), weight, conv.bias)

        out = self.recomputed(convolve, [before], first)
        return add_convs_upsampled(out, others, weights, self.align_corners)

    def recomputed(
        self, run: Callable, modules: Sequence[ConvModule | None], *args: Tensor
    ) -> Any:
        """Call `run(*args)`, of which only arguments and results are kept for backward.

        The last step of `run` is a convolution; recomputing ends before it.
        """
        if (
            torch.is_grad_enabled()
            and not torch.compiler.is_compiling()  # which decides itself what to keep
            and not torch.jit.is_tracing()
            and all(is_normalized(module) for module in modules)
        ):
            return recompute(run, self, *args)
        return run(*args)


def finish(module: Any, x: Tensor) -> Tensor:
    """Norm and activation of a module whose convolution is done.

    A module that is not plain has done them too.
    """
    if module is None or not is_plain(module):
        return x
    if module.with_norm:
        x = module.norm(x)
    return module.activate(x) if module.with_activation else x


def is_normalized(module: Any) -> bool:
    """Whether it may be computed again: it is plain with one of torch's norms.

    Without a norm, its activation could change in place what is kept; statistics of
    other norms, and hooks, would see a batch twice.
    """
    return (
        is_plain(module)
        and module.with_norm
        and isinstance(module.norm, (_NormBase, nn.GroupNorm))
        and not any(has_hooks(part) for part in module.modules())
    )


def is_plain(module: Any) -> bool:
    """Whether it is a convolution of odd kernel size, then a norm, then an activation.

    The convolution keeps the size, and neither it nor the module does anything else.
    """
    conv = module.conv if type(module) is ConvModule else None
    return (
        type(conv) is nn.Conv2d
        and module.order == ('conv', 'norm', 'act')
        and not module.with_spectral_norm
        and not module.with_explicit_padding
        and conv.padding == tuple(k // 2 for k in conv.kernel_size)
        and all(k % 2 for k in conv.kernel_size)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding_mode == 'zeros'
        and not has_hooks(conv)
        and not has_hooks(module)
    )
