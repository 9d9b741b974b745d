"""A replacement of ``mmcv._ext``: mmcv's compiled ops, computed by torchvision.

The pip wheel of mmcv has no compiled ops, yet ``mmcv.ops`` and mmdet import them.
``finder.py`` loads this module under the name ``mmcv._ext`` when the real one is
absent, so each function has the name, arguments and in-place outputs that the Python
callers in ``mmcv/ops`` expect. Mask R-CNN needs NMS and RoIAlign, RetinaNet on a GPU
the sigmoid focal loss. Every other op raises an error that names the remedy.

Parity with the compiled ops of onedl-mmcv 2.3.6 (CPU, float32, recorded once in
``tests/data/mmcv_ops.npz``): NMS, batched NMS, soft-NMS and average RoIAlign are equal
to the bit, max RoIAlign within 3e-6 of the largest value. They differ on purpose if

- inputs are float16 or bfloat16, computed here in float32; float64 works too;
- a RoI has no area: max mode pools it to 0, mmcv to its initial value, -10000;
- a RoI has a negative size: mmcv's CPU op raises, its CUDA op and this one do not;
- logits are extreme: the focal loss uses log-sigmoid, mmcv a clamped logarithm;
- scores in soft-NMS are equal: the lower index is first, mmcv's order is undefined.

``roi_pool`` is not included: torchvision rounds the RoI to whole cells, mmcv does not.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

import torch
import torch.nn.functional as F
import torchvision
from torch import Size, Tensor

_BUILD_DOCS = 'https://mmcv.readthedocs.io/en/latest/get_started/build.html'
_MAX_POOL = 0  # mmcv's pool_mode; 1 is average

# The registered operators: torchvision's Python roi_align uses torch.compile in
# deterministic mode, and its backward has no Python function.
_tv = torch.ops.torchvision


def _full_precision(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 or wider: torchvision's CPU kernels have no half."""
    if not (a.is_floating_point() and b.is_floating_point()):
        raise TypeError(f'expected floating point tensors, got {a.dtype}, {b.dtype}')
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


# --- NMS ------------------------------------------------------------------------------


def _add_offset(boxes: Tensor, offset: int) -> Tensor:
    """Boxes (N, 4) with ``offset`` added to x2 and y2, as mmcv adds it to sizes."""
    return torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes (N, 4), by descending score."""
    boxes, scores = _full_precision(boxes, scores)
    # mmcv compares in the boxes' dtype, torchvision's CPU kernel in double, where a
    # float32 IoU of 0.3 exceeds a threshold of 0.3.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torchvision.ops.nms(_add_offset(boxes, offset), scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Fill the first rows of ``dets`` (N, 5); return the kept indices in that order."""
    corners, scores = _full_precision(boxes, scores)
    areas = _add_offset(corners, offset)
    scores = scores.clone()
    kept: list[int] = []
    rest = torch.arange(len(scores), device=scores.device)
    while len(rest):
        best = int(rest[scores[rest].argmax()])
        kept.append(best)
        rest = rest[rest != best]
        iou = torchvision.ops.box_iou(areas[best : best + 1], areas[rest])[0]
        # Two boxes without area have IoU 0/0: no overlap.
        scores[rest] *= _soft_weight(iou.nan_to_num(), iou_threshold, sigma, method)
        rest = rest[scores[rest] >= min_score]
    keep = torch.tensor(kept, dtype=torch.long, device=scores.device)
    dets[: len(keep)] = torch.cat((corners[keep], scores[keep, None]), dim=1)
    return keep


def _soft_weight(
    iou: Tensor, iou_threshold: float, sigma: float, method: int
) -> Tensor:
    """Factor for the scores of boxes that overlap one of a higher score."""
    if method == 2:  # gaussian
        return torch.exp(-iou.square() / sigma)
    decayed = 1 - iou if method == 1 else torch.zeros_like(iou)  # linear, naive
    return torch.where(iou >= iou_threshold, decayed, 1)


# --- RoIAlign -------------------------------------------------------------------------
#
# torchvision only averages. With one sample per bin an average is that sample, so max
# mode makes every sample a bin of its own and pools each grid of gh x gw samples.


class _Bins(NamedTuple):
    """How a RoI is divided into bins, and bins into samples."""

    height: int
    width: int
    spatial_scale: float
    sampling_ratio: int  # samples per bin and axis; 0: one per cell
    aligned: bool

    def average(self, input: Tensor, rois: Tensor) -> Tensor:
        """(B, C, H, W) and rois (K, 5) to (K, C, h, w)."""
        h, w, scale, ratio, aligned = self
        return _tv.roi_align(input, rois, scale, h, w, ratio, aligned)

    def average_backward(self, grad: Tensor, rois: Tensor, shape: Size) -> Tensor:
        """(K, C, h, w) to the input's ``shape`` (B, C, H, W)."""
        h, w, scale, ratio, aligned = self
        return _tv._roi_align_backward(grad, rois, scale, h, w, *shape, ratio, aligned)

    def per_sample(self, gh: int, gw: int) -> '_Bins':
        return self._replace(
            height=self.height * gh, width=self.width * gw, sampling_ratio=1
        )

    def grids(self, rois: Tensor) -> Iterator[tuple[Tensor, int, int]]:
        """Row numbers of the RoIs that share a grid, and its gh and gw.

        A RoI without area may have no samples; it is skipped.
        """
        if self.sampling_ratio > 0:
            grids = rois.new_full((len(rois), 2), self.sampling_ratio)
        else:
            # The shift cancels out, except for rounding, which can change the grid.
            shift = 0.5 if self.aligned else 0.0
            corners = rois[:, 1:] * self.spatial_scale - shift
            sizes = corners[:, 2:] - corners[:, :2]  # (K, 2): width, height
            sizes = sizes if self.aligned else sizes.clamp(min=1)
            grids = torch.ceil(sizes / sizes.new_tensor([self.width, self.height]))
        shapes, group = grids.unique(dim=0, return_inverse=True)
        for i, (gw, gh) in enumerate(shapes.tolist()):
            if gw > 0 and gh > 0:
                yield (group == i).nonzero()[:, 0], int(gh), int(gw)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool input (B, C, H, W) at rois (K, 5) into output (K, C, h, w).

    In max mode argmax_y and argmax_x, of output's shape, receive the winning sample's
    row and column inside its bin: small integers, exact in half precision too.
    """
    bins = _Bins(aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
    input, rois = _full_precision(input, rois)
    if pool_mode != _MAX_POOL:
        output.copy_(bins.average(input, rois))
        return
    output.zero_()
    for rows, gh, gw in bins.grids(rois):
        samples = bins.per_sample(gh, gw).average(input, rois[rows])
        pooled, winner = F.max_pool2d(samples, (gh, gw), return_indices=True)
        output[rows] = pooled.to(output.dtype)
        argmax_y[rows] = (winner // (bins.width * gw) % gh).to(argmax_y.dtype)
        argmax_x[rows] = (winner % gw).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill grad_input (B, C, H, W) from grad_output (K, C, h, w)."""
    bins = _Bins(aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
    grad, rois = _full_precision(grad_output, rois)
    if pool_mode != _MAX_POOL:
        grad_input.copy_(bins.average_backward(grad, rois, grad_input.shape))
        return
    total = grad.new_zeros(grad_input.shape)
    bin_y = torch.arange(bins.height, device=grad.device)[:, None]
    bin_x = torch.arange(bins.width, device=grad.device)
    for rows, gh, gw in bins.grids(rois):
        y = bin_y * gh + argmax_y[rows].long()  # (k, C, h, w): rows of the samples
        x = bin_x * gw + argmax_x[rows].long()
        unpooled = F.max_unpool2d(grad[rows], y * (bins.width * gw) + x, (gh, gw))
        fine = bins.per_sample(gh, gw)
        total += fine.average_backward(unpooled, rois[rows], total.shape)
    grad_input.copy_(total)


# --- Sigmoid focal loss ---------------------------------------------------------------
#
# With z = x for the target class, -x for the others, and q = sigmoid(z), both cases are
# -a (1 - q)^gamma log q, where a is alpha or 1 - alpha.


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sign of z, z and a, each (N, C). A target outside [0, C) is background."""
    logits, weight = _full_precision(input, weight)
    classes = torch.arange(logits.shape[1], device=logits.device)
    sign = (target[:, None] == classes).to(logits.dtype) * 2 - 1
    factor = 0.5 + sign * (alpha - 0.5)
    if weight.numel():  # (C,); raises for background, where mmcv reads past the end
        factor = factor * weight.index_select(0, target)[:, None]
    return sign, sign * logits, factor


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill output (N, C) from logits (N, C) and class indices (N,)."""
    _, z, factor = _focal_terms(input, target, weight, alpha)
    output.copy_(-factor * torch.sigmoid(-z) ** gamma * F.logsigmoid(z))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Fill grad_input (N, C) with the derivative of each loss by its logit."""
    sign, z, factor = _focal_terms(input, target, weight, alpha)
    q, miss = torch.sigmoid(z), torch.sigmoid(-z)
    slope = miss**gamma * (gamma * q * F.logsigmoid(z) - miss)
    grad_input.copy_(sign * factor * slope)


# --- Everything else ------------------------------------------------------------------


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
        raise NotImplementedError(
            f'mmcv op {name!r} is not available: the pip wheel of mmcv has no compiled '
            'ops and torchvision has no exact equivalent, so install an mmcv built '
            f'with ops ({_BUILD_DOCS}) or choose a model that does not need it.'
        )

    return unavailable
