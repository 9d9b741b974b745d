"""A checkpoint hook whose files are complete or absent."""

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.engine.finite_steps import check_weights
from mmpatchconvnet.registry import HOOKS

# Settings that name another place or backend than the work directory.
ELSEWHERE = {'backend_args', 'file_client_args', 'out_dir'}


class AtomicBackend(LocalBackend):
    """mmengine's backend for local files, but written by `atomic_write`."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        atomic_write(filepath, bytes(obj))


register_backend('mmpatchconvnet.atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's hook with the same arguments; no local file is ever truncated.

    A run that ends also leaves its last state, wherever it ends: early stopping ends it
    between two checkpoints, or before the first. Only `save_last=False` prevents it.
    """

    def __init__(self, **settings: Any) -> None:
        if not ELSEWHERE & set(settings):
            settings['backend_args'] = dict(backend='mmpatchconvnet.atomic')
        super().__init__(**settings)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.saved_iter = runner.iter  # that of the start, or of the resumed file

    def after_train(self, runner: Runner) -> None:
        if self.save_last and runner.iter > self.saved_iter:
            step = runner.epoch if self.by_epoch else runner.iter
            runner.logger.info(f'Saving the last state, of step {runner.iter}')
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        check_weights(runner, meta['iter'])  # before older ones are removed
        super()._save_checkpoint_with_step(runner, step, meta)
        self.saved_iter = meta['iter']
