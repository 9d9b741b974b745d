"""What the operating system has refused, and what to do: disk, memory, processes."""

import errno
import re
import traceback
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """A fault of the system: what happened, and what to do."""

    what: str
    remedy: str


WORKERS = 'set fewer num_workers in the dataloaders (0 starts none)'
FULL = Fault('the disk is full', 'free some space')
SHARED = Fault(
    'the shared memory of the data workers (/dev/shm) is full',
    f'enlarge it (docker run --shm-size=8g), or {WORKERS}',
)
# Of what torch, Python and the system say, the first that fits. Data workers share
# memory as files of /dev/shm, so that comes before files and disks.
KNOWN = {
    r'Bus error|shared memory \(shm\)|unable to (write|allocate)[^\n]*</?torch_': (
        SHARED
    ),
    r'Too many open files|items of ancdata': Fault(
        'too many files are open', f'raise the limit with ulimit -n 65536, or {WORKERS}'
    ),
    r'No space left on device|Disk quota exceeded': FULL,
    r'worker[^\n]*(signal: (Killed|Terminated)|exited unexpectedly)': Fault(
        'a data worker was killed, most often because memory ran out',
        f'free memory, {WORKERS}, or set a smaller batch_size',
    ),
    r'worker[^\n]* is killed by signal': Fault(
        'a data worker crashed in a library',
        'set num_workers=0 in the dataloaders to see where',
    ),
    r"can't start new thread": Fault(
        'the system allows no more threads', f'raise ulimit -u, or {WORKERS}'
    ),
}
# The same of errors that Python's multiprocessing raises while it starts a process;
# elsewhere, such as at the lock of a file, they say something else.
STARTING = {
    r'No space left on device': SHARED,
    r'Resource temporarily unavailable': Fault(
        'the system allows no more processes', f'raise ulimit -u, or {WORKERS}'
    ),
    r'(Can.t|cannot) (pickle|get local object)': Fault(
        'the data set cannot be sent to data workers that are started by spawn',
        f"set env_cfg.mp_cfg.mp_start_method='fork', or {WORKERS}",
    ),
}
MEMORY = Fault(
    'there is too little memory',
    f'set a smaller batch_size, or smaller pictures by Resize in the pipeline, or '
    f'{WORKERS}',
)
NO_MEMORY = 'allocate memory|not enough memory|out of memory|ArrayMemoryError'


def fault_of(error: BaseException) -> Fault | None:
    """What the system has refused, None for any other error.

    A data worker passes an error on as text, so the text decides.
    """
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return MEMORY
    known = {**STARTING, **KNOWN} if _in_multiprocessing(error) else KNOWN
    text = f'{type(error).__name__}: {error}'
    for pattern, fault in known.items():
        if re.search(pattern, text):
            return fault
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory could not be allocated, on a GPU or for the CPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or 'Errno 12]' in str(error)
    return isinstance(error, RuntimeError) and bool(re.search(NO_MEMORY, str(error)))


def _in_multiprocessing(error: BaseException) -> bool:
    """Whether an error comes from Python's multiprocessing."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(
        Path(frame.filename).parent.name == 'multiprocessing' for frame in frames
    )
