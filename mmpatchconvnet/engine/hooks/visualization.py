"""Hooks that draw predictions and curves into the work directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmpatchconvnet.engine.sample_pictures import read_sample_picture
from mmpatchconvnet.registry import HOOKS
from mmpatchconvnet.visualization.curves import plot_curves
from mmpatchconvnet.visualization.panels import IGNORED
from mmpatchconvnet.visualization.sheets import (
    SheetRow,
    chosen_palette,
    draw_sheet,
    save_image,
)


@HOOKS.register_module()
class PredictionSheetHook(Hook):
    """Draws images with their predictions after every validation or test.

    The sheet of a validation is written to the work directory and replaced by the next
    one; that of a test goes to the folder of its log. The images are spread evenly over
    the data set, the same ones each time, and read as its pipeline reads them. Names
    and colours of the classes come from its metainfo. Pixels of an `ignore_index` are
    not painted.

    A picture never ends a run: what cannot be read or drawn is left out, which one
    line in the log says.

    Args:
        num_images: Number of images.
        score_threshold: Objects with a lower score are left out.
        out_file: Name of the sheet, ending in .png, .jpg or .webp.
    """

    priority = 'LOW'

    def __init__(
        self,
        num_images: int = 8,
        score_threshold: float = 0.5,
        out_file: str = 'predictions.png',
    ) -> None:
        self.num_images = num_images
        self.score_threshold = score_threshold
        self.out_file = out_file

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        self.rows: list[SheetRow] = []
        self.faults: list[str] = []
        self.seen = 0

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        if mode == 'train' or not is_main_process():
            return
        total = len(dataloader_of(runner, mode).sampler)
        chosen = np.linspace(0, total - 1, min(self.num_images, total)).round()
        for sample in outputs:
            if self.seen in chosen and getattr(sample, 'img_path', None):
                try:
                    self.rows.append(self._read(runner, sample, mode))
                except Exception as error:  # of any reader
                    self.faults.append(f'{sample.img_path} ({first_line(error)})')
            self.seen += 1

    def _read(self, runner: Runner, sample: BaseDataElement, mode: str) -> SheetRow:
        """The image and its sample on the CPU, without objects of a low score."""
        sample = sample.cpu()
        if 'pred_instances' in sample:
            instances: Any = sample.pred_instances
            kept = instances.scores >= self.score_threshold
            sample.pred_instances = instances[kept]
        if 'gt_sem_seg' in sample:
            sample.gt_sem_seg = unpainted(sample.gt_sem_seg, ignored(runner, mode))
        image = read_sample_picture(
            dataloader_of(runner, mode).dataset, sample.img_path
        )
        return SheetRow(image, sample, Path(sample.img_path).name)

    @master_only
    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode == 'train':
            return
        if self.faults:
            runner.logger.warning(
                f'{len(self.faults)} pictures are missing in {self.out_file}, as they '
                f'cannot be read: {self.faults[0]}'
            )
        metainfo = getattr(dataloader_of(runner, mode).dataset, 'metainfo', {})
        if 'classes' not in metainfo or not (self.rows or self.faults):
            runner.logger.warning(
                f'no {self.out_file}: the samples need an img_path and the data set '
                "needs metainfo with 'classes'"
            )
        elif self.rows:
            with never_fatal(runner, self.out_file):
                # A test must not replace the sheet of the training.
                folder = runner.work_dir if mode == 'val' else runner.log_dir
                self._draw(runner, metainfo, Path(folder, self.out_file))
        self.rows = []

    def _draw(self, runner: Runner, metainfo: dict, path: Path) -> None:
        sheet = draw_sheet(
            self.rows,
            metainfo['classes'],
            chosen_palette(metainfo),
            self.score_threshold,
            title=title_of(runner),
        )
        save_image(path, sheet)
        runner.logger.info(f'{len(self.rows)} predictions are drawn in {path}')


@HOOKS.register_module()
class LossCurveHook(Hook):
    """Draws the curves of a run into its work directory when training ends.

    Args:
        out_file: Name of the picture, ending in .png, .jpg or .webp.
    """

    priority = 'LOW'

    def __init__(self, out_file: str = 'curves.png') -> None:
        self.out_file = out_file

    def before_train(self, runner: Runner) -> None:
        self.start = runner.iter

    @master_only
    def after_train(self, runner: Runner) -> None:
        if runner.iter == self.start:  # a finished run was resumed
            return
        # Where mmengine's LocalVisBackend writes, one folder for each start of the run;
        # other backends leave no file.
        scalars = sorted(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
        if runner.log_dir not in map(str, (path.parents[1] for path in scalars)):
            runner.logger.warning(
                f'no {self.out_file}: {runner.log_dir} has no vis_data/scalars.json, '
                "add dict(type='LocalVisBackend') to the vis_backends of the visualizer"
            )
            return
        path = Path(runner.work_dir, self.out_file)
        with never_fatal(runner, self.out_file):
            plot_curves(scalars, path, title=title_of(runner))
            runner.logger.info(f'the curves of this run are drawn in {path}')


@contextmanager
def never_fatal(runner: Runner, picture: str) -> Iterator[None]:
    """Log an error in one line instead of ending the run with it."""
    try:
        yield
    except Exception as error:
        runner.logger.warning(f'no {picture}: {first_line(error)}')


def first_line(error: Exception) -> str:
    """The type and the first line of an error."""
    return f'{type(error).__name__}: {error}'.strip().splitlines()[0]


def ignored(runner: Runner, mode: str) -> set[int]:
    """The labels of pixels that metrics, data set or heads ignore."""
    loop = runner.val_loop if mode == 'val' else runner.test_loop
    parts = [
        *loop.evaluator.metrics,
        dataloader_of(runner, mode).dataset,
        *(part for part in runner.model.modules() if hasattr(part, 'num_classes')),
    ]
    labels = (getattr(part, 'ignore_index', None) for part in parts)
    return {label for label in labels if isinstance(label, int)}


def unpainted(label_map: Any, labels: set[int]) -> Any:
    """A copy of a host's label map with some labels replaced by that of no class."""
    copy = label_map.clone()
    copy.data = label_map.data.clone()
    for label in labels:
        copy.data[label_map.data == label] = IGNORED
    return copy


def title_of(runner: Runner) -> str:
    """The name of the config file, or of the work directory if there is no file."""
    return Path(runner.cfg.filename or runner.work_dir).stem


def dataloader_of(runner: Runner, mode: str) -> Any:
    """The loader that validation (`val`) or testing (`test`) reads."""
    return runner.val_dataloader if mode == 'val' else runner.test_dataloader
