"""Deformable convolution by torchvision, version 1: offsets alone.

Equal to the compiled op to 1e-6 relative in float32. ``im2col_step`` only sets how many
images mmcv computes at a time; torchvision chooses this number itself.

On a GPU: torchvision's kernels are nearly those of mmcv. With mixed precision mmcv's op
should be faster, as here it is computed in float32.
"""

from torch import Tensor

from mmpatchconvnet.compat.ops.deformable import Taps, convolve, gradients

# torchvision computes all gradients at once, mmcv first those of input and offset, then
# that of the weight. It waits at the scratch tensor `columns`, which both are given.
_BY_WEIGHT = 'gradient_of_the_weight'


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill output (B, D, h, w) from input (B, C, H, W) and offset.

    Offset is (B, deformable_group x kH x kW x 2, h, w), weight (D, C / group, kH, kW).
    ``columns`` and ``ones`` are scratch memory of mmcv and not used.
    """
    taps = Taps(
        (kH, kW),
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    output.copy_(convolve(input, offset, None, weight, None, taps))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Add to grad_input and fill grad_offset from grad_output (B, D, h, w)."""
    taps = Taps(
        (kH, kW),
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    by_input, by_offset, _, by_weight, _ = gradients(
        grad_output, input, offset, None, weight, None, taps
    )
    grad_input += by_input
    grad_offset.copy_(by_offset)
    vars(columns)[_BY_WEIGHT] = (input, offset, grad_output), by_weight


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add to grad_weight (D, C / group, kH, kW), scaled, from grad_output."""
    taps = Taps(
        (kH, kW),
        (dH, dW),
        (padH, padW),
        (dilationH, dilationW),
        group,
        deformable_group,
    )
    given = (input, offset, grad_output)
    computed_from, by_weight = vars(columns).pop(_BY_WEIGHT, ((None,) * 3, None))
    if any(a is not b for a, b in zip(given, computed_from, strict=True)):
        # The gradient of the weight does not depend on the weight.
        _, _, _, by_weight, _ = gradients(
            grad_output, input, offset, None, grad_weight, None, taps
        )
    grad_weight += scale * by_weight
