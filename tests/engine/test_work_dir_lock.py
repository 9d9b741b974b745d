"""One training at a time in a work directory."""

import os
import socket
from pathlib import Path

import pytest
from toy_training import toy_config

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine import work_dir_lock
from mmpatchconvnet.engine.launch import build_runner


def try_to_lock(folder: Path) -> str:
    """What another process is told that wants to train in a work directory."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        work_dir_lock.held.clear()  # only of the parent
        try:
            work_dir_lock.lock_work_dir(folder)
        except ConfigError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return told.read()


def test_one_training_at_a_time_in_a_work_directory(tmp_path, quick):
    # As one that was killed leaves it.
    (tmp_path / '.lock').write_text('{"host": "elsewhere", "pid": 1}')
    runner = build_runner(toy_config(tmp_path, steps=1), training=True)
    told = try_to_lock(tmp_path)
    assert f'process {os.getpid()} on {socket.gethostname()}' in told
    assert 'give another --work-dir' in told
    build_runner(toy_config(tmp_path, steps=1), training=True)  # the same process may
    runner.train()
    assert try_to_lock(tmp_path) == ''


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_does_not_keep_the_lock_from_being_taken(tmp_path):
    (tmp_path / '.lock').symlink_to('/dev/full')
    work_dir_lock.lock_work_dir(tmp_path)
    assert tmp_path.resolve() in work_dir_lock.held
    work_dir_lock.unlock_work_dir(tmp_path)
    assert tmp_path.resolve() not in work_dir_lock.held
