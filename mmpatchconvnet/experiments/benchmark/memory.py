"""Memory of a step: at its peak, and between forward and backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(run: Callable[[], None], device: str) -> int:
    """Peak of the bytes of tensors that a step allocates, without the weights.

    On `cuda` the allocator counts them, including workspaces of libraries. On `cpu` the
    results of all operators are counted, without workspaces.
    """
    if device == 'cpu':
        with LiveTensors() as live:
            run()
        return live.peak
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class LiveTensors(TorchDispatchMode):
    """Counts the memory of tensors that were created inside it and still exist.

    Attributes:
        peak: The maximum, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        given = {address_of(x) for x in tree_leaves((args, kwargs)) if has_storage(x)}
        result = func(*args, **(kwargs or {}))
        for x in filter(has_storage, tree_leaves(result)):
            storage = x.untyped_storage()
            if address_of(x) not in given:  # otherwise a view, or written in place
                self.storages[address_of(x)] = StorageWeakRef(storage), storage.nbytes()
        self.storages = {a: s for a, s in self.storages.items() if not s[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.storages.values()))
        return result


def has_storage(x: Any) -> bool:
    """Whether x is a tensor, and not a weight that oneDNN has packed."""
    return isinstance(x, torch.Tensor) and not x.is_mkldnn


def address_of(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata


def saved_activation_bytes(run: Callable[[], None], weights: set[int]) -> int:
    """Bytes that autograd keeps between forward and backward, without the weights.

    Args:
        run: A step of training.
        weights: Addresses of the storages of the parameters.
    """
    kept: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        run()
    return sum(kept.values())
