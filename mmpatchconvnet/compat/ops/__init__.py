"""A replacement of ``mmcv._ext``: mmcv's compiled ops, computed by torchvision.

The pip wheel of mmcv has no compiled ops, yet ``mmcv.ops`` and mmdet import them.
``finder.py`` loads this module under the name ``mmcv._ext`` when the real one is
absent, so each function has the name, arguments and in-place outputs that the Python
callers in ``mmcv/ops`` expect. Each file says how its op compares with the compiled
one. Every op that is not here raises an error that names the remedy.

Float16 and bfloat16 are computed in float32; float64 works too. The compiled ops that
the tests compare with are those of onedl-mmcv 2.3.6 (CPU, float32, recorded once in
``tests/data/mmcv_ops.npz``); where its CPU and CUDA ops differ, CUDA counts.
"""

from collections.abc import Callable
from typing import NoReturn

from mmpatchconvnet.compat.ops.carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from mmpatchconvnet.compat.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
)
from mmpatchconvnet.compat.ops.deform_roi_pool import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
)
from mmpatchconvnet.compat.ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from mmpatchconvnet.compat.ops.masked_conv import (
    masked_col2im_forward,
    masked_im2col_forward,
)
from mmpatchconvnet.compat.ops.modulated_deform_conv import (
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from mmpatchconvnet.compat.ops.ms_deform_attn import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from mmpatchconvnet.compat.ops.nms import nms, softnms
from mmpatchconvnet.compat.ops.nms_match import nms_match
from mmpatchconvnet.compat.ops.psa_mask import psamask_backward, psamask_forward
from mmpatchconvnet.compat.ops.roi_align import roi_align_backward, roi_align_forward
from mmpatchconvnet.compat.ops.roi_pool import roi_pool_backward, roi_pool_forward
from mmpatchconvnet.compat.ops.sync_bn import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

__all__ = [
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'deform_roi_pool_backward',
    'deform_roi_pool_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
    'sync_bn_backward_data',
    'sync_bn_backward_param',
    'sync_bn_forward_mean',
    'sync_bn_forward_output',
    'sync_bn_forward_var',
]

_BUILD_DOCS = 'https://mmcv.readthedocs.io/en/latest/get_started/build.html'


def get_compiler_version() -> str:
    """Called by mmcv's environment report."""
    return 'none (torchvision is used)'


def get_compiling_cuda_version() -> str:
    return 'none'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Any other op: importing it works, calling it raises an error with the remedy."""
    if name.startswith(('_', 'pytest')):  # which Python and pytest look up
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def unavailable(*args: object, **kwargs: object) -> NoReturn:
        raise MissingOpError(name)

    return unavailable


class MissingOpError(NotImplementedError, ValueError):
    """A model calls an op that is not provided; no command shows a traceback of it."""

    def __init__(self, name: str, caller: str = '') -> None:
        super().__init__(
            f'mmcv op {name!r}{caller} is not available: the pip wheel of mmcv has no '
            'compiled ops and torchvision has no exact equivalent, so install an mmcv '
            f'built with ops ({_BUILD_DOCS}) or choose a model that does not need it.'
        )
