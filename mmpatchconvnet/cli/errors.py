"""How a command ends on an error that a user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds end the program with their message and no traceback."""
    try:
        yield
    except kinds as error:
        raise SystemExit(f'error: {error}') from None
