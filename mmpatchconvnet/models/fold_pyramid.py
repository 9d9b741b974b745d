"""A `DeconvPyramid` merged with the 1x1 convolutions that read it, for inference.

A fine level ends with a transposed convolution, and an FPN or UPerHead starts with a
1x1 convolution of it: together they are one transposed convolution. Which convolution
reads which level depends on many arguments of the hosts (`in_index`, `start_level`,
`add_extra_convs`, the order of norm and activation) and on what a subclass does with
them. So the arguments are not interpreted: the readers run on the meta device, where
tensors have shapes but no values, and everything that reads a level is recorded. They
run twice, with another batch and map size, as a reader may branch on these.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmpatchconvnet.models.plain import has_hooks, is_plain_batch_norm
from mmpatchconvnet.models.pyramids import DeconvPyramid

# Batch, height and width of the maps at scale 1 in the recorded runs: two small
# squares, and one large picture of odd size.
RUNS = ((2, 16, 16), (1, 51, 85))


@torch.no_grad()
def fold_pyramid(pyramid: DeconvPyramid, readers: Sequence[nn.Module]) -> str:
    """Merge the fine levels of a pyramid and the convolutions that read them, in place.

    A BatchNorm after the convolution is merged too. Both become identities.
    A second call changes nothing.

    Args:
        pyramid: In eval mode.
        readers: All modules that are called with the tuple of its levels, in eval mode.

    Returns:
        The levels that are read but not merged, and why; empty if there are none.
    """
    if getattr(pyramid, 'folded', False):
        return ''
    pyramid.folded = True
    fine = [i for i, scale in enumerate(pyramid.scales) if scale > 1]
    if type(pyramid) is not DeconvPyramid:
        return f'levels {fine}: {type(pyramid).__name__} may compute them differently'
    try:
        runs = [record_reads(pyramid, readers, *shape) for shape in RUNS]
    except Exception as error:  # readers may be any code
        names = ', '.join(type(reader).__name__ for reader in readers)
        return f'levels {fine}: {names} cannot run on them alone ({error!r:.100})'
    kept = []
    for i in fine:
        projections = [
            projection
            for scale, projection in zip(
                pyramid.stem_scales, pyramid.stem_projections, strict=True
            )
            if scale == pyramid.scales[i]
        ]
        if not any(recorder.count_reads(levels[i]) for recorder, levels in runs):
            continue
        calls = [
            recorder.only_reader(levels[i], nn.Conv2d) for recorder, levels in runs
        ]
        conv = common_module(calls)
        if conv is None or not is_plain_1x1(conv):
            kept.append(
                f'level {i}: it is not read by exactly one plain 1x1 convolution'
            )
        elif not all(is_plain_batch_norm(p.norm) for p in projections):
            kept.append(f'level {i}: the norm of its stem map is not a plain BatchNorm')
        else:
            merged = [conv]
            norm = common_module(
                [
                    recorder.only_reader(call.returned, _BatchNorm)
                    for (recorder, _), call in zip(runs, calls, strict=True)
                    if call
                ]
            )
            if norm and is_plain_batch_norm(norm):
                conv = fuse_conv_bn_eval(conv, norm)
                merged.append(norm)
            merge_into_level(pyramid.levels[i], projections, conv)
            for reader in readers:
                replace_by_identity(reader, merged)
    return ', '.join(kept)


class Call(NamedTuple):
    """A call of a module: its only argument and its result."""

    module: Any
    given: Any
    returned: Any


class Recorder(TorchDispatchMode):
    """Records the tensors that operations read, and the calls of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Any] = []
        self.calls: list[tuple[Call, list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.reads += tree_leaves((args, kwargs))
        return func(*args, **(kwargs or {}))

    def count_reads(self, x: Tensor) -> int:
        return sum(read is x for read in self.reads)

    def only_reader(self, x: Tensor, kind: type) -> Call | None:
        """The call of a module of this kind on x, if nothing else reads x."""
        found = [
            (call, weights)
            for call, weights in self.calls
            if call.given is x and isinstance(call.module, kind)
        ]
        if len(found) != 1 or self.count_reads(x) != 1:
            return None
        call, weights = found[0]
        return call if all(self.count_reads(w) <= 1 for w in weights) else None


def common_module(calls: Sequence[Call | None]) -> Any:
    """The module of all calls; None if they differ or one is None."""
    first, *others = (call and call.module for call in calls)
    return first if all(module is first for module in others) else None


def record_reads(
    pyramid: DeconvPyramid,
    readers: Sequence[nn.Module],
    batch: int,
    height: int,
    width: int,
) -> tuple[Recorder, list[Tensor]]:
    """Run copies of the readers on meta levels; return the record and the levels."""
    recorder = Recorder()
    modules = nn.ModuleList(readers)
    copies = copy_to_meta(modules)
    for module, copy in zip(modules.modules(), copies.modules(), strict=True):

        def hook(
            copy: nn.Module, given: Any, returned: Any, module: nn.Module = module
        ) -> None:
            if len(given) == 1 and 'forward' not in vars(copy):  # its own forward
                weights = [*copy.parameters(False), *copy.buffers(False)]
                recorder.calls.append((Call(module, given[0], returned), weights))

        copy.register_forward_hook(hook)
    dtype = next(pyramid.parameters()).dtype
    levels = [
        torch.empty(
            *(batch, pyramid.out_channels, ceil(height * scale), ceil(width * scale)),
            device='meta',
            dtype=dtype,
        )
        for scale in pyramid.scales
    ]
    with recorder:
        for copy in copies:
            recorder.reads += tree_leaves(copy(tuple(levels)))
    return recorder, levels


def copy_to_meta(module: nn.Module) -> Any:
    """A copy on the meta device; values are not copied."""
    memo: dict[int, Any] = {}
    for x in chain(module.parameters(), module.buffers()):
        on_meta = x.detach().to('meta')
        is_parameter = isinstance(x, nn.Parameter)
        memo[id(x)] = nn.Parameter(on_meta, False) if is_parameter else on_meta
    return deepcopy(module, memo)


def is_plain_1x1(conv: nn.Conv2d) -> bool:
    """Whether a convolution is only a matrix product over channels."""
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.groups)
    return (
        type(conv) is nn.Conv2d
        and geometry == ((1, 1), (1, 1), (0, 0), 1)
        and not has_hooks(conv)
    )


def merge_into_level(level: Any, projections: Sequence[Any], conv: nn.Conv2d) -> None:
    """Merge a 1x1 convolution into a level and into the projections added to it.

    Args:
        level: A level that ends with a transposed convolution.
        projections: The projections of stem maps, 1x1 convolutions with BatchNorm.
        conv: The convolution that reads their sum.
    """
    weight = conv.weight.flatten(1)  # (out, in)
    last = level[-1]
    bias = weight @ last.bias + (0 if conv.bias is None else conv.bias)
    set_weights(last, torch.einsum('cihw,oi->cohw', last.weight, weight), bias)
    for projection in projections:
        fused = fuse_conv_bn_eval(projection.conv, projection.norm)
        bias = weight @ fused.bias
        set_weights(fused, torch.einsum('ichw,oi->ochw', fused.weight, weight), bias)
        projection.conv, projection.norm = fused, nn.Identity()


def set_weights(conv: Any, weight: Tensor, bias: Tensor) -> None:
    conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    conv.out_channels = len(bias)


def replace_by_identity(root: nn.Module, replaced: Sequence[nn.Module]) -> None:
    for parent in root.modules():
        for name, child in [*parent._modules.items()]:
            if any(child is module for module in replaced):
                setattr(parent, name, nn.Identity())
