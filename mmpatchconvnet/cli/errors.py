"""End a command on an error that a user can fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmpatchconvnet.system_faults import fault_of


@contextmanager
def exit_on(*kinds: type[Exception]) -> Iterator[None]:
    """End the program with the message of these errors instead of a traceback."""
    try:
        yield
    except kinds as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            # An error while a file is written does not name it.
            path, fault = error.filename2 or error.filename, fault_of(error)
            place = f'{path or "a file"} cannot be used ({error.strerror})'
            what, remedy = fault or (place, 'give another path')
            text = f'{place if path else what}: {remedy}.'
        raise SystemExit(f'error: {text}') from None
