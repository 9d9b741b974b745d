"""Hooks that draw predictions and curves into the work directory."""

from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmpatchconvnet.registry import HOOKS
from mmpatchconvnet.visualization.curves import plot_curves
from mmpatchconvnet.visualization.sheets import (
    SheetRow,
    chosen_palette,
    draw_sheet,
    save_image,
)


@HOOKS.register_module()
class PredictionSheetHook(Hook):
    """Draws images with their predictions after every validation or test.

    The sheet is written to the work directory and replaced by the next one. The images
    are spread evenly over the data set, the same ones each time. Names and colours of
    the classes come from its metainfo.

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
            if self.seen in chosen and 'img_path' in sample:
                self.rows.append(self._read(sample))
            self.seen += 1

    def _read(self, sample: BaseDataElement) -> SheetRow:
        """The image and its sample on the CPU, without objects of a low score."""
        sample = sample.cpu()
        if 'pred_instances' in sample:
            instances: Any = sample.pred_instances
            kept = instances.scores >= self.score_threshold
            sample.pred_instances = instances[kept]
        image = mmcv.imread(sample.img_path, channel_order='rgb')
        return SheetRow(image, sample, Path(sample.img_path).name)

    @master_only
    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode == 'train':
            return
        metainfo = getattr(dataloader_of(runner, mode).dataset, 'metainfo', {})
        if not self.rows or 'classes' not in metainfo:
            runner.logger.warning(
                f'no {self.out_file}: the samples need an img_path and the data set '
                "needs metainfo with 'classes'"
            )
            return
        path = Path(runner.work_dir, self.out_file)
        sheet = draw_sheet(
            self.rows,
            metainfo['classes'],
            chosen_palette(metainfo),
            self.score_threshold,
            title=title_of(runner),
        )
        save_image(path, sheet)
        runner.logger.info(f'{len(self.rows)} predictions are drawn in {path}')
        self.rows = []


@HOOKS.register_module()
class LossCurveHook(Hook):
    """Draws the curves of a run into its work directory when training ends.

    Args:
        out_file: Name of the picture, ending in .png, .jpg or .webp.
    """

    priority = 'LOW'

    def __init__(self, out_file: str = 'curves.png') -> None:
        self.out_file = out_file

    @master_only
    def after_train(self, runner: Runner) -> None:
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
        plot_curves(scalars, path, title=title_of(runner))
        runner.logger.info(f'the curves of this run are drawn in {path}')


def title_of(runner: Runner) -> str:
    """The name of the config file, or of the work directory if there is no file."""
    return Path(runner.cfg.filename or runner.work_dir).stem


def dataloader_of(runner: Runner, mode: str) -> Any:
    """The loader that validation (`val`) or testing (`test`) reads."""
    return runner.val_dataloader if mode == 'val' else runner.test_dataloader
