"""What stops a run from outside, in one sentence: disk, memory, data workers."""

import errno
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.system_faults import Fault, fault_of

PROBE = 2**20  # bytes that a work directory must have room for
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class RunFault(RuntimeError):
    """A run that cannot go on, in one sentence: why, and what to do."""


def check_work_dir(work_dir: str | Path) -> None:
    """Make a work directory, and see that it can be written.

    Raises:
        ConfigError: It cannot.
    """
    probe = Path(work_dir, '.probe')
    try:
        atomic_write(probe, bytes(PROBE))
        probe.unlink(missing_ok=True)  # of another process that starts, too
    except OSError as error:
        raise ConfigError(
            f'{work_dir} cannot be written ({error.strerror}): free some space, or '
            'give another --work-dir that you may write.'
        ) from None


@contextmanager
def explain_faults(work_dir: str | Path, resumes: bool = False) -> Iterator[None]:
    """Raise a `RunFault` for what the system has refused.

    The traceback goes to the log file.

    Args:
        work_dir: Where the run writes.
        resumes: Whether a run that has stopped can be resumed.

    Raises:
        RunFault: For a full disk, too little memory, data workers that were killed or
            cannot start, or a file in the work directory that may not be written. Any
            other error stays as it is.
    """
    try:
        yield
    except Exception as error:
        fault = fault_of(error) or _of_work_dir(error, work_dir)
        if fault is None:
            raise
        log_traceback(error)
        line = _telling_line(error)
        reason = f' ({line})' if line else ''
        then = ''
        if resumes:
            then = ', then start again'
            if Path(work_dir, 'last_checkpoint').is_file():
                then = (
                    f', then --resume continues from the last checkpoint in {work_dir}'
                )
        raise RunFault(f'{fault.what}{reason}: {fault.remedy}{then}.') from None


def _telling_line(error: Exception) -> str:
    """The first line of an error, or the last of one that a data worker passes on."""
    lines = str(error).strip().splitlines() or ['']
    return lines[-1 if lines[0].startswith('Caught ') else 0].rstrip('.')


def _of_work_dir(error: Exception, work_dir: str | Path) -> Fault | None:
    """The fault of a file in the work directory that may not be written."""
    if not isinstance(error, OSError) or error.errno not in DENIED:
        return None
    file, place = Path(str(error.filename)).resolve(), Path(work_dir).resolve()
    if place not in (file, *file.parents):
        return None
    return Fault('the work directory cannot be used', 'make it readable and writable')


def log_traceback(error: BaseException) -> None:
    """Write the traceback of an error to the log file of the run, if that is possible.

    The sentence that a user sees instead may be wrong about the cause.
    """
    text = ''.join(traceback.format_exception(error))
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream:
            with suppress(OSError, ValueError):
                handler.stream.write(text)
                handler.flush()


def log_what_fits(runner: Runner | FlexibleRunner) -> None:
    """Let a run go on when its log cannot be written, and say so once.

    Only a checkpoint is worth ending a run for.
    """
    told: list[str] = []

    def tell(error: BaseException) -> None:
        if not told:
            told.append(str(error))
            runner.logger.warning(
                f'the log in {runner.work_dir} cannot be written, and the run goes on '
                f'without it ({error}): free some space before the next checkpoint.'
            )

    for handler in runner.logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _tell_or(handler.handleError, tell)  # type: ignore
    for backend in getattr(runner.visualizer, '_vis_backends', {}).values():
        for name in ('add_config', 'add_scalar', 'add_scalars', 'add_image'):
            setattr(backend, name, _or_tell(getattr(backend, name), tell))


def _tell_or(other: Callable, tell: Callable[[BaseException], None]) -> Callable:
    """What a log handler does with an error: `other` unless a file refuses to be
    written."""

    def handle(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            tell(error)
        else:
            other(record)

    return handle


def _or_tell(write: Callable, tell: Callable[[BaseException], None]) -> Callable:
    @wraps(write)
    def attempt(*values: Any, **settings: Any) -> None:
        try:
            write(*values, **settings)
        except OSError as error:
            tell(error)

    return attempt
