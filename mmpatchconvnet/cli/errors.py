"""End a command on an error that a user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exit_on(*kinds: type[Exception]) -> Iterator[None]:
    """End the program with the message of these errors instead of a traceback."""
    try:
        yield
    except kinds as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            path = error.filename2 or error.filename
            text = f'{path} cannot be used ({error.strerror}): give another path.'
        raise SystemExit(f'error: {text}') from None
