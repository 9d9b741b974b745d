"""mmseg's UPerHead with its 3x3 bottlenecks at the maps' own resolution."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads import UPerHead
from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor, nn

from mmpatchconvnet.models.plain import has_hooks
from mmpatchconvnet.models.upsampled_conv import conv_upsampled, resize


class FastUPerHead(UPerHead):
    """`mmseg.UPerHead` with the same arguments, parameters, state dict and results.

    The head of UperNet (`Unified Perceptual Parsing for Scene Understanding
    <https://arxiv.org/abs/1807.10221>`_) upsamples all its maps to the finest one and
    convolves them together; that 3x3 convolution is most of its work. Here each map is
    convolved before it is upsampled (`models/upsampled_conv.py`), which gives the same
    result up to rounding, for training and inference, and no upsampled map exists. The
    pooled maps of its pyramid pooling are treated alike.

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

    def psp_forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Pool the last map to several sizes, and merge them with it.

        Returns:
            (B, channels, H, W), the size of the last map.
        """
        if type(self.psp_modules) is not PPM:
            return super().psp_forward(inputs)
        last = inputs[-1]
        pooled = [pool(last) for pool in self.psp_modules]
        return self.merge(self.bottleneck, [last, *pooled])

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        inputs = [
            x.contiguous(memory_format=torch.channels_last)
            for x in self._transform_inputs(inputs)
        ]
        maps = [
            project(x) for project, x in zip(self.lateral_convs, inputs, strict=False)
        ]
        top = self.psp_forward(inputs)
        outputs = [top]
        for x, convolve in zip(reversed(maps), reversed(self.fpn_convs), strict=True):
            top = x + resize(top, x.shape[2:], self.align_corners)
            outputs.insert(0, convolve(top))
        return self.merge(self.fpn_bottleneck, outputs)

    def merge(self, module: ConvModule, maps: Sequence[Tensor]) -> Tensor:
        """Apply a bottleneck to the maps as if they were resized to the first one."""
        if not is_plain(module):
            size = maps[0].shape[2:]
            return module(
                torch.cat([resize(x, size, self.align_corners) for x in maps], 1)
            )
        conv = module.conv
        x = conv_upsampled(maps, conv.weight, conv.bias, self.align_corners)
        if module.with_norm:
            x = module.norm(x)
        return module.activate(x) if module.with_activation else x


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
