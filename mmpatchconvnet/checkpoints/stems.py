"""The stems of columns of other strides than the official 16: their keys, what fits."""

import logging
from collections.abc import Iterable, Mapping

from mmengine.logging import print_log
from torch import Tensor

STRIDES = (4, 8, 16, 32)
PROJECTION = 'stem.projection.weight'


def stem_keys(stride: int) -> set[str]:
    """The keys of the stem of a column of this stride, as in its `state_dict`."""
    count = stride.bit_length() - 1  # each convolution halves the map
    convs = {f'stem.convs.{i}.weight' for i in range(count)}
    return convs | ({PROJECTION} if stride < 16 else set())


def stride_of(keys: Iterable[str]) -> int | None:
    """The stride of a column with these keys; None if it has the stem of no stride."""
    given = {key for key in keys if key.startswith('stem.')}
    return next((stride for stride in STRIDES if stem_keys(stride) == given), None)


def fit_stem(
    path: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a column, made to fit one of another stride; the log says how.

    The convolutions that both stems have are kept, and all blocks. The projection of
    another stride has another width, so it is left out.

    Args:
        path: Where the weights are from, for the log.
        given: The weights.
        own: The weights of the column that they are for.

    Returns:
        The weights with `own` at the end of the stem; the same ones if their stride is
        that of the column, or is unknown.
    """
    old, new = stride_of(given), stride_of(own)
    if old == new or old is None or new is None:
        return dict(given)
    kept = (stem_keys(old) & stem_keys(new)) - {PROJECTION}
    left_out, added = stem_keys(old) - kept, stem_keys(new) - kept
    print_log(
        f'{path} is of a column of stride {old}, and this one has stride {new}. '
        f'New and untrained: {_names(added)}. Left out: {_names(left_out)}. All else '
        'is loaded.',
        'current',
        logging.WARNING,
    )
    fitting = {key: value for key, value in given.items() if key not in left_out}
    return {**fitting, **{key: own[key] for key in added}}


def _names(keys: Iterable[str]) -> str:
    return ', '.join(sorted(keys)) or 'nothing'
