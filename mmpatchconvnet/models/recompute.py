"""Blocks that are computed again in the backward pass, to save memory (`with_cp`)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def recompute(run: Callable, blocks: nn.Module, *args: Any) -> Any:
    """Call `run(*args)`, of which only the arguments are kept for the backward pass.

    Args:
        run: A function.
        blocks: The blocks that it calls. Their norms count a batch once.
        *args: Its arguments.
    """
    contexts = partial(contexts_of, blocks)
    return checkpoint(run, *args, use_reentrant=False, context_fn=contexts)


def contexts_of(
    blocks: nn.Module,
) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What blocks run in: the first time, and when they are computed again."""
    return nullcontext(), kept_statistics(blocks)


@contextmanager
def kept_statistics(blocks: nn.Module) -> Iterator[None]:
    """Within it, batches do not change the running figures of norms."""
    norms = [
        (module, module.momentum, module.num_batches_tracked)
        for module in blocks.modules()
        if isinstance(module, _NormBase) and module.num_batches_tracked is not None
    ]
    try:
        for norm, _, count in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, count.clone()
        yield
    finally:
        for norm, momentum, count in norms:
            norm.momentum, norm.num_batches_tracked = momentum, count
