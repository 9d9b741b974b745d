"""A checkpoint hook whose files are complete or absent."""

from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.atomic_files import atomic_write
from mmpatchconvnet.engine.finite_steps import check_weights
from mmpatchconvnet.registry import HOOKS

# A state between two checkpoints, saved on a signal; each replaces the one before.
INTERIM = 'interim.pth'
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

    `save_interim` saves a state between two checkpoints, also with `save_last=False`.
    """

    def __init__(self, **settings: Any) -> None:
        if not ELSEWHERE & set(settings):
            settings['backend_args'] = dict(backend='mmpatchconvnet.atomic')
        super().__init__(**settings)
        # mmengine passes others on to this method, which refuses them after training.
        for name in self.args.keys() - signature(Runner.save_checkpoint).parameters:
            raise TypeError(
                f'{type(self).__name__}.__init__() got an unexpected keyword argument '
                f'{name!r}'
            )

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.saved_iter = runner.iter  # that of the start, or of the resumed file
        self.saved: dict = {}  # where the last regular checkpoint of this run is
        self.position: dict = {}  # of the state that is being saved

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        if self.save_best:  # before an older one is removed
            check_weights(runner, runner.iter)
        super().after_val_epoch(runner, metrics)

    def after_train(self, runner: Runner) -> None:
        if self.save_last and runner.iter > self.saved_iter:
            step = runner.epoch if self.by_epoch else runner.iter
            runner.logger.info(f'Saving the last state, of step {runner.iter}')
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self.position = dict(epoch=meta['epoch'], iter=meta['iter'])
        check_weights(runner, meta['iter'])  # before older ones are removed
        super()._save_checkpoint_with_step(runner, step, meta)
        self.saved, self.position = self.position, {}
        self.saved_iter = self.saved['iter']

    def save_interim(
        self,
        runner: Runner | FlexibleRunner,
        epoch: int,
        step: int,
        always: bool = False,
    ) -> str:
        """Save what resuming needs in `INTERIM`, which counts in no `max_keep_ckpts`.

        Args:
            runner: Has finished so many epochs and steps.
            epoch: The number of epochs.
            step: The number of steps.
            always: Also if a regular checkpoint has just been saved.

        Returns:
            The path, which can be that of the regular checkpoint.

        Raises:
            BadStepError: The weights are not finite, in all processes.
            OSError: The file cannot be written.
        """
        check_weights(runner, step)
        position = dict(epoch=epoch, iter=step)
        complete = self.save_optimizer and self.save_param_scheduler
        if position == self.saved and complete and not always:
            return str(self.last_ckpt)
        self.position = position
        settings = dict(self.args, backend_args=self.backend_args, by_epoch=False)
        target = (self.out_dir, INTERIM, self.file_client_args)
        try:
            runner.save_checkpoint(*target, meta={**position}, **settings)
        finally:
            self.position = {}
        path = self.file_backend.join_path(self.out_dir, INTERIM)
        if is_main_process():
            atomic_write(Path(runner.work_dir, 'last_checkpoint'), path.encode())
        return path

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # A FlexibleRunner replaces them by those at the end of a step.
        checkpoint['meta'].update(self.position)
