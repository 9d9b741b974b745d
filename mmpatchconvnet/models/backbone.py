"""What the backbones share: checks of arguments, freezing, folding, layer depths."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmpatchconvnet.models.block.folded import FoldedModule
from mmpatchconvnet.models.strict_init import StrictModule


class Backbone(StrictModule):
    """A stem and the parts behind it, which return the taps at `out_indices`.

    A subclass sets `frozen_stages`, `stem` and the list that `parts` names, calls
    `_freeze` after building them, and says with `block_number` where a parameter is.
    """

    parts: str  # `blocks` or `stages`
    frozen_stages: int
    stem: nn.Module

    def train(self, mode: bool = True) -> Any:
        """Set the training mode, except for frozen parts, which stay in eval mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for part in (self.stem, *getattr(self, self.parts)[: self.frozen_stages]):
            part.eval().requires_grad_(False)

    def switch_to_deploy(self) -> None:
        """Fold stem and blocks for inference, in place; see `mmpatchconvnet.deploy`.

        Those that may compute otherwise (subclasses, replaced parts) or that have hooks
        are left as they are, and the log says so.
        """
        self.eval().requires_grad_(False)
        kept = []
        for kind, names in self.foldable().items():
            reasons: Counter[str] = Counter()
            for name in names:
                part = self.get_submodule(name)
                if isinstance(part, FoldedModule):  # by an earlier call
                    continue
                if reason := self.why_not_folded(part):
                    reasons[reason] += 1
                else:
                    parent, _, last = name.rpartition('.')
                    # torch 2.4 has no set_submodule.
                    setattr(self.get_submodule(parent), last, self.fold(part))
            for reason, count in reasons.items():
                what = kind if len(names) == 1 else f'{count} of {len(names)} {kind}'
                kept.append(f'{what} ({reason})')
        if kept:
            name = type(self).__name__
            print_log(f'{name} is not folded in {", ".join(kept)}.', 'current')

    def foldable(self) -> dict[str, list[str]]:
        """The names of the parts that can be folded, by what they are in the plural."""
        raise NotImplementedError

    def why_not_folded(self, part: nn.Module) -> str:
        """Why a part in eval mode cannot be folded; empty if it can."""
        raise NotImplementedError

    def fold(self, part: nn.Module) -> nn.Module:
        """The folded part; it can no longer be trained."""
        raise NotImplementedError

    @property
    def num_blocks(self) -> int:
        """Number of blocks, counted over all stages."""
        raise NotImplementedError

    def block_number(self, name: Sequence[str]) -> int:
        """The block of a parameter, from its name behind `blocks.` or `stages.`."""
        raise NotImplementedError

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning-rate decay.

        Args:
            param_name: Name of the parameter in the model.
            prefix: Prefix of the backbone in the model, e.g. `backbone.`.

        Returns:
            The layer and the number of layers, blocks + 2: 0 is the stem, i + 1 is
            block i, counted over all stages; the step to a stage belongs to its first
            block; the last layer is everything outside the backbone.
        """
        num_layers = self.num_blocks + 2
        if param_name.startswith(prefix):
            part, *name = param_name[len(prefix) :].split('.')
            if part == 'stem':
                return 0, num_layers
            if part == self.parts:
                return self.block_number(name) + 1, num_layers
        return num_layers - 1, num_layers


def check_arguments(
    parts: str,
    count: int,
    out_indices: tuple[int, ...],
    frozen_stages: int,
    drop_path_rate: float,
    with_cp: bool | int,
) -> None:
    """Raise `ValueError` for an argument of a backbone that is out of range.

    Args:
        parts: What the backbone consists of, `blocks` or `stages`.
        count: How many there are.
        out_indices: As `resolve_indices` returns them.
        frozen_stages: See the backbones, as for the others.
        drop_path_rate: A probability.
        with_cp: How many blocks are recomputed at a time.
    """
    if not out_indices:
        raise ValueError(
            f'out_indices is empty: name at least one {parts[:-1]}, e.g. -1.'
        )
    if not -1 <= frozen_stages <= count:
        raise ValueError(
            f'frozen_stages={frozen_stages} is out of range: give -1 (none), '
            f'0 (the stem) or up to {count} (the stem and all {parts}).'
        )
    if not 0 <= drop_path_rate < 1:
        raise ValueError(
            f'drop_path_rate={drop_path_rate} is out of range: give a probability '
            'in [0, 1).'
        )
    if with_cp < 0:
        raise ValueError(
            f'with_cp={with_cp} is out of range: give True, False or how many '
            'blocks to recompute at a time.'
        )


def keys_of(parts: str, numbers: Iterable[int]) -> str | None:
    """A pattern of the keys of parts with these numbers; None if there are none."""
    alternatives = '|'.join(map(str, numbers))
    return rf'{parts}\.(?:{alternatives})\.' if alternatives else None


def resolve_indices(
    name: str, indices: int | Sequence[int], length: int
) -> tuple[int, ...]:
    """Sorted indices from 0 to length - 1; negative ones count from the end."""
    given = [indices] if isinstance(indices, int) else list(indices)
    for i in given:
        if not -length <= i < length:
            raise ValueError(
                f'{name}={indices} is out of range: {i} is not between {-length} and '
                f'{length - 1}.'
            )
    resolved = sorted(i % length for i in given)
    if len(set(resolved)) < len(resolved):
        raise ValueError(f'{name}={indices} names a map twice: give each one once.')
    return tuple(resolved)
