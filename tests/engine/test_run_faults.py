"""What stops a run from outside ends in one sentence, and what is written stays."""

import errno
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from toy_training import ToyData, toy_config, watched

from mmpatchconvnet.cli import plot
from mmpatchconvnet.cli.errors import exit_on
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine import run_faults
from mmpatchconvnet.engine.launch import build_runner, without_workers
from mmpatchconvnet.engine.run_faults import RunFault, check_work_dir, explain_faults
from mmpatchconvnet.visualization.canvas import save_image

pytestmark = pytest.mark.usefixtures('quick')


@DATASETS.register_module()
class KilledData(ToyData):
    """Its worker kills itself, as the kernel does when memory runs out."""

    def __getitem__(self, index: int) -> dict:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def trained(cfg) -> str:
    """What a training that fails says."""
    runner = build_runner(cfg, training=True)
    with pytest.raises(RunFault) as caught, explain_faults(cfg.work_dir, resumes=True):
        runner.train()
    assert caught.value.__suppress_context__ and '\n' not in str(caught.value)
    return str(caught.value)


def test_a_data_worker_that_is_killed_is_one_sentence(tmp_path, monkeypatch):
    # How often torch looks after its workers, in seconds.
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.2)
    by_default = _MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(by_default, '__defaults__', (0.2,))
    cfg = toy_config(tmp_path, steps=2)
    cfg.train_dataloader.update(dataset=dict(type='KilledData'), num_workers=1)
    told = trained(cfg)
    assert told.startswith('a data worker was killed, most often')
    assert 'num_workers' in told and 'batch_size' in told and 'start again' in told


@pytest.mark.parametrize(
    ('error', 'what', 'remedy'),
    [
        (
            RuntimeError(
                'DataLoader worker (pid 7) is killed by signal: Bus error. It is '
                'possible that dataloader workers are out of shared memory.'
            ),
            'shared memory',
            '--shm-size',
        ),
        (
            RuntimeError(
                'unable to write to file </torch_7_8>: No space left on device (28)'
            ),
            'shared memory',
            '--shm-size',
        ),
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Aborted.'),
            'crashed',
            'num_workers',
        ),
        (OSError(errno.EMFILE, 'Too many open files'), 'open', 'ulimit -n'),
        (RuntimeError('received 0 items of ancdata'), 'open', 'ulimit -n'),
        (
            RuntimeError(
                'unable to open shared memory object </torch_7> in read-write mode: '
                'Too many open files (24)'
            ),
            'open',
            'ulimit -n',
        ),
        (OSError(errno.ENOMEM, 'Cannot allocate memory'), 'memory', 'batch_size'),
        (
            RuntimeError(
                'Caught _ArrayMemoryError in DataLoader worker process 0.\n'
                'numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB'
            ),
            'memory (numpy',
            'batch_size',
        ),
        (RuntimeError("can't start new thread"), 'threads', 'num_workers'),
        (
            torch.OutOfMemoryError('CUDA out of memory.\nCompile with TORCH_USE_...'),
            'memory (CUDA out of memory',
            'batch_size',
        ),
        (OSError(errno.ENOSPC, 'No space left on device'), 'disk is full', 'free'),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, what, remedy, tmp_path):
    with pytest.raises(RunFault) as caught, explain_faults(tmp_path):
        raise error
    told, _, advice = str(caught.value).partition('): ')
    assert what in told and remedy in advice


def refuse_fork():
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize(
    ('method', 'function', 'what'),
    [('spawn', lambda: None, 'spawn'), ('fork', print, 'no more processes')],
)
def test_a_process_that_cannot_start_is_one_sentence(
    method, function, what, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, 'fork', refuse_fork)
    process = multiprocessing.get_context(method).Process(target=function)
    with pytest.raises(RunFault, match=what), explain_faults(tmp_path):
        process.start()


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('mat1 and mat2'),
        OSError(errno.EACCES, 'Permission denied', '/x'),
        # Of a data set in a work directory that is '.', for example.
        FileNotFoundError(errno.ENOENT, 'No such file', 'work/data/1.png'),
        # Of HDF5, where another process has the file.
        BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable'),
        # Of a checkpoint with a function in it, or of copy.deepcopy.
        AttributeError("Can't pickle local object 'a'"),
        TypeError("cannot pickle '_io.TextIOWrapper' object"),
    ],
)
def test_other_errors_stay_as_they_are(error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(type(error)) as caught, explain_faults('work'):
        raise error
    assert caught.value is error


def test_a_file_of_the_work_dir_that_may_not_be_written_is_named(tmp_path):
    denied = PermissionError(errno.EACCES, 'Permission denied', str(tmp_path / 'a.pth'))
    told = r'a\.pth.*: make it readable and writable\.$'
    with pytest.raises(RunFault, match=told), explain_faults(tmp_path):
        raise denied


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(tmp_path, monkeypatch):
    cfg = toy_config(tmp_path, steps=4)
    cfg.default_hooks.checkpoint.interval = 2
    write = Path.write_bytes

    def full_later(path, content):
        if 'iter_4' in path.name:
            write(path, content[:100])
            full()
        return write(path, content)

    monkeypatch.setattr(Path, 'write_bytes', full_later)
    told = trained(cfg)
    assert 'the disk is full' in told and 'free some space, then --resume' in told
    assert [path.name for path in tmp_path.glob('*.pth*')] == ['iter_2.pth']
    (log,) = tmp_path.glob('*/*.log')
    assert 'in full_later\n' in log.read_text()  # the traceback
    monkeypatch.undo()
    assert list(watched(toy_config(tmp_path, steps=4, resume='auto'))) == [3, 4]


def test_a_log_that_cannot_be_written_does_not_end_a_run(tmp_path, monkeypatch, capfd):
    cfg = toy_config(tmp_path, steps=3)
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.visualizer = dict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
    )
    runner = build_runner(cfg, training=True)
    (backend,) = runner.visualizer._vis_backends.values()
    monkeypatch.setattr(backend, '_dump', full)
    (file,) = (one for one in runner.logger.handlers if hasattr(one, 'baseFilename'))
    disk = Path('/dev/full').open('w')  # noqa: SIM115

    class FullDisk(Hook):
        def before_train_iter(self, *_, **__):
            monkeypatch.setattr(file, 'stream', disk)

    runner.register_hook(FullDisk())
    runner.train()
    monkeypatch.setattr(logging, 'raiseExceptions', True)
    runner.logger.warning('%d', 'a mistake in a call')
    out, err = capfd.readouterr()
    assert (out + err).count('cannot be written, and the run goes on') == 1
    faults, mistake, shown = err.partition('--- Logging error ---')
    assert mistake and 'a mistake in a call' in shown
    assert 'Traceback' not in out + faults
    assert (tmp_path / 'iter_3.pth').is_file()


def test_a_full_disk_at_the_start_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(run_faults, 'atomic_write', full)
    with pytest.raises(
        ConfigError, match=r'No space left .*: free some space, or give'
    ):
        build_runner(toy_config(tmp_path, steps=1), training=True)
    monkeypatch.undo()
    monkeypatch.setattr('mmengine.config.Config.dump', full)
    with pytest.raises(RunFault, match=r'the disk is full .*: free some space\.$'):
        build_runner(toy_config(tmp_path, steps=1), training=True)


def test_a_work_dir_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / 'file').write_text('')
    for place in (tmp_path / 'file', tmp_path / 'file/below', Path('/proc/none')):
        with pytest.raises(ConfigError, match=r'cannot be written .* --work-dir'):
            check_work_dir(place)
    check_work_dir(tmp_path / 'new')
    assert not list((tmp_path / 'new').iterdir())


def test_commands_name_the_file_or_the_disk(tmp_path):
    place = r'/out cannot be used .*: give another path'
    with pytest.raises(SystemExit, match=place), exit_on(OSError):
        (tmp_path / 'none/out').write_text('')
    disk = r'^error: the disk is full: free some space'
    with pytest.raises(SystemExit, match=disk), exit_on(OSError):
        full()
    disk = r'^error: a file cannot be used \(Input/output error\): give another path'
    with pytest.raises(SystemExit, match=disk), exit_on(OSError):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_plot_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')  # where a folder should be
    (tmp_path / 'rows.csv').write_text('model\ns60\n')
    monkeypatch.setattr(
        'mmpatchconvnet.visualization.tradeoffs.plot_resolution',
        lambda rows, path: save_image(path, np.zeros((8, 8, 3), np.uint8)),
    )
    with pytest.raises(SystemExit, match=r'file cannot be used .*: give another path'):
        plot.run('resolution', tmp_path / 'rows.csv', tmp_path / 'file/a.png', [], [])


def test_no_workers_leave_out_what_only_workers_take():
    loader = dict(num_workers=0, persistent_workers=True, prefetch_factor=2, timeout=0)
    without_workers(loader)
    torch.utils.data.DataLoader([1], **loader)
    loader = dict(num_workers=1, persistent_workers=True)
    without_workers(loader)
    assert loader['persistent_workers']
