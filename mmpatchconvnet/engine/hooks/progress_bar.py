"""A hook that shows one progress bar for training and one for validation."""

import atexit
import datetime
import logging
import sys
import time
from typing import Any, ClassVar

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
)

from mmpatchconvnet.engine.hooks.visualization import dataloader_of
from mmpatchconvnet.registry import HOOKS


class TerminalBar:
    """rich's progress bar, with the lines of a logger printed above it.

    It is drawn by `update`, not by a thread: a worker forked while a thread holds the
    console's lock would hang at its first output.

    Args:
        logger: Its handlers for the terminal are redirected to print above the bar.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn('{task.fields[status]}'),
            console=Console(soft_wrap=True),  # long lines stay whole
            auto_refresh=False,
            expand=True,
        )
        self.progress.start()
        self.handlers = [
            handler
            for handler in logger.handlers
            if type(handler) is logging.StreamHandler
        ]
        self._send_log_to_stdout()  # now a proxy of rich
        self.drawn = 0.0
        # mmengine calls no hook after an exception, and rich has hidden the cursor.
        atexit.register(self.stop)

    def update(self, task: TaskID, completed: int, status: str) -> None:
        """Set the progress of a task, and draw it at most ten times a second."""
        self.progress.update(task, completed=completed, status=status)
        if time.monotonic() - self.drawn > 0.1:
            self.progress.refresh()
            self.drawn = time.monotonic()

    def stop(self) -> None:
        """Stop drawing and restore the terminal."""
        atexit.unregister(self.stop)
        self.progress.stop()
        self._send_log_to_stdout()

    def _send_log_to_stdout(self) -> None:
        """Point the handlers to the current sys.stdout, as they keep an earlier one."""
        for handler in self.handlers:
            handler.setStream(sys.stdout)


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows one progress bar for training and one for validation, on a terminal only.

    Elsewhere the log of mmengine's LoggerHook shows the same, with the time left.
    """

    priority = 'LOW'
    # One bar per terminal: a new run stops the bar of a failed one.
    bar: ClassVar[TerminalBar | None] = None

    def __init__(self) -> None:
        self.tasks: dict[str, TaskID] = {}

    def before_run(self, runner: Runner) -> None:
        self.after_run(runner)
        on_terminal = sys.stdout.isatty() and not Console().is_dumb_terminal
        if on_terminal and is_main_process():
            ProgressBarHook.bar = TerminalBar(runner.logger)

    def after_run(self, runner: Runner) -> None:
        if self.bar is not None:
            self.bar.stop()
        ProgressBarHook.bar = None

    def before_train(self, runner: Runner) -> None:
        self._add_task('train', runner.max_iters)

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._add_task(mode, len(dataloader_of(runner, mode)))

    def _add_task(self, mode: str, total: int) -> None:
        if self.bar is not None:
            self.tasks[mode] = self.bar.progress.add_task(mode, total=total, status='')

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        if self.bar is not None:
            done = runner.iter if mode == 'train' else batch_idx
            self.bar.update(self.tasks[mode], done + 1, _status(runner, mode))

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if self.bar is not None and mode != 'train':
            self.bar.progress.remove_task(self.tasks.pop(mode))


def _status(runner: Runner, mode: str) -> str:
    """The time left and, in training, the loss and the learning rate."""
    hub = runner.message_hub
    seconds = hub.get_info('eta')
    parts = [] if seconds is None else [f'eta {datetime.timedelta(0, int(seconds))}']
    if mode == 'train' and 'train/loss' in hub.log_scalars:
        parts.append(f'loss {hub.get_scalar("train/loss").mean(10):.4f}')
    if mode == 'train' and 'train/lr' in hub.log_scalars:
        parts.append(f'lr {hub.get_scalar("train/lr").current():.2e}')
    return '  '.join(parts)
