"""Hooks on a tiny mmengine Runner: files are written, the terminal is given back."""

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend, register_backend
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmpatchconvnet.engine.hooks import visualization as picture_hooks
from mmpatchconvnet.engine.hooks.progress_bar import ProgressBarHook
from mmpatchconvnet.visualization import sheets

PICTURES = 10
SHEET = 'mmpatchconvnet.PredictionSheetHook'
CURVES = 'mmpatchconvnet.LossCurveHook'
BAR = 'mmpatchconvnet.ProgressBarHook'


class Pictures(Dataset):
    """Pictures on disk, each of one grey level, with their number in the name."""

    metainfo = dict(classes=('even', 'odd'))

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / f'{index}.png' for index in range(PICTURES)]
        for index, path in enumerate(self.paths):
            cv2.imwrite(str(path), np.full((20, 30, 3), 100 + index, np.uint8))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        sample = BaseDataElement(metainfo=dict(img_path=str(self.paths[index])))
        sample.gt_label = torch.tensor([index % 2])
        return dict(inputs=torch.ones(1), data_samples=sample)


class Model(BaseModel):
    """Calls every picture odd, and finds two objects of which one is doubtful.

    It is interrupted, as by Ctrl-C, at the training step `fails_at`.
    """

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.steps, self.fails_at = 0, fails_at

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            self.steps += 1
            if self.steps == self.fails_at:
                raise KeyboardInterrupt
            return dict(loss_a=self.weight.sum(), loss_b=self.weight.sum() * 2)
        for sample in data_samples:
            sample.pred_label = torch.tensor([1])
            sample.pred_instances = InstanceData(
                labels=torch.zeros(2, dtype=torch.long),
                scores=torch.tensor([0.9, 0.1]),
                bboxes=torch.zeros(2, 4),
            )
        return data_samples


class Share(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [int(sample['gt_label']) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(share=sum(results) / len(results))


def collate(batch: list[dict]) -> dict:
    return dict(
        inputs=torch.stack([one['inputs'] for one in batch]),
        data_samples=[one['data_samples'] for one in batch],
    )


def make_runner(
    folder: Path,
    *custom_hooks: dict,
    fails_at: int | None = None,
    backends: tuple[str, ...] = ('LocalVisBackend',),
) -> Runner:
    """A Runner of two training steps and one validation, at work in `folder`/run."""
    folder.mkdir(exist_ok=True)
    loader = DataLoader(Pictures(folder), batch_size=3, collate_fn=collate)
    return Runner(
        model=Model(fails_at),
        work_dir=str(folder / 'run'),
        experiment_name=folder.as_posix(),
        train_dataloader=loader,
        val_dataloader=loader,
        test_dataloader=loader,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=[Share()],
        test_evaluator=[Share()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
            checkpoint=None,
        ),
        custom_hooks=list(custom_hooks),
        log_processor=dict(by_epoch=False),
        visualizer=dict(
            type='Visualizer', vis_backends=[dict(type=name) for name in backends]
        ),
        default_scope='mmengine',
    )


def test_training_leaves_a_sheet_and_curves(tmp_path):
    make_runner(tmp_path, dict(type=SHEET), dict(type=CURVES)).train()
    for name in ('predictions.png', 'curves.png'):
        assert cv2.imread(str(tmp_path / 'run' / name)).std() > 0


def test_a_test_leaves_the_sheet_of_the_training_as_it_is(tmp_path):
    sheet = tmp_path / 'run' / 'predictions.png'
    sheet.parent.mkdir()
    sheet.write_bytes(b'of the training')
    runner = make_runner(tmp_path, dict(type=SHEET))
    runner.test()
    assert sheet.read_bytes() == b'of the training'
    assert cv2.imread(str(Path(runner.log_dir, sheet.name))).std() > 0


def test_sheet_shows_pictures_from_the_whole_set(tmp_path, monkeypatch):
    drawn = {}

    def draw_sheet(rows, classes, palette, score_threshold, title):
        drawn.update(rows=rows, classes=classes, palette=palette, title=title)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(picture_hooks, 'draw_sheet', draw_sheet)
    runner = make_runner(tmp_path, dict(type=SHEET, num_images=4, out_file='sheet.jpg'))
    runner.test()
    rows = drawn['rows']
    assert [row.name for row in rows] == ['0.png', '3.png', '6.png', '9.png']
    assert [int(row.image[0, 0, 0]) for row in rows] == [100, 103, 106, 109]
    assert [int(row.sample.gt_label) for row in rows] == [0, 1, 0, 1]
    # What is too uncertain to be drawn is not kept either.
    assert all(len(row.sample.pred_instances) == 1 for row in rows)
    assert drawn['classes'] == ('even', 'odd') and drawn['title'] == 'run'
    assert Path(runner.log_dir, 'sheet.jpg').exists()


@pytest.mark.det
def test_colours_of_other_classes_are_not_taken():
    from mmdet.datasets import CocoDataset

    inherited = CocoDataset(metainfo=dict(classes=('a', 'b')), lazy_init=True).metainfo
    assert len(inherited['palette']) > 2
    assert sheets.chosen_palette(inherited) is None


@pytest.mark.seg
@pytest.mark.parametrize('chosen', [None, [(1, 2, 3), (4, 5, 6)]])
def test_colours_that_mmseg_draws_by_lot_are_not_taken(chosen, tmp_path, monkeypatch):
    from mmseg.datasets import BaseSegDataset

    metainfo = dict(classes=('a', 'b')) | (dict(palette=chosen) if chosen else {})
    metainfo = BaseSegDataset(metainfo=metainfo, lazy_init=True).metainfo
    assert len(metainfo['palette']) == 2
    monkeypatch.setattr(Pictures, 'metainfo', metainfo)
    palettes = []

    def draw_sheet(rows, classes, palette, *_, **__):
        palettes.append(palette)
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(picture_hooks, 'draw_sheet', draw_sheet)
    make_runner(tmp_path, dict(type=SHEET)).test()
    assert palettes == [chosen]


def test_more_pictures_asked_for_than_there_are(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        picture_hooks,
        'draw_sheet',
        lambda rows, *_, title: drawn.extend(rows) or np.zeros((8, 8, 3), np.uint8),
    )
    make_runner(tmp_path, dict(type=SHEET, num_images=99)).val()
    assert [row.name for row in drawn] == [f'{index}.png' for index in range(PICTURES)]


def drawn_rows(monkeypatch) -> list:
    """The rows that a sheet will be drawn of."""
    rows: list = []
    monkeypatch.setattr(
        picture_hooks,
        'draw_sheet',
        lambda given, *_, title: rows.extend(given) or np.zeros((8, 8, 3), np.uint8),
    )
    return rows


def with_pipeline(monkeypatch, **settings: object) -> None:
    step = LoadImageFromFile(**settings)
    monkeypatch.setattr(Pictures, 'pipeline', Compose([step]), raising=False)


@pytest.mark.parametrize('backend', ['cv2', 'tifffile'])
def test_pictures_are_read_as_the_pipeline_reads_them(backend, tmp_path, monkeypatch):
    """Turned by EXIF or not, from any backend, in any number of bands and depth."""

    class Elsewhere(LocalBackend):
        def get(self, filepath: str) -> bytes:
            return super().get(filepath.replace('run', 'pictures'))

    register_backend('elsewhere', Elsewhere, force=True)
    with_pipeline(
        monkeypatch,
        backend_args=dict(backend='elsewhere'),
        color_type='unchanged' if backend == 'tifffile' else 'color_ignore_orientation',
        imdecode_backend=backend,
    )
    rows = drawn_rows(monkeypatch)
    runner = make_runner(tmp_path, dict(type=SHEET, num_images=1))
    values = np.zeros((20, 30, 5), np.float32)
    values[:, 15:, 0] = 1000  # red, or the first band
    (tmp_path / 'pictures').mkdir()
    (name,) = {Path(path).name for path in runner.test_dataloader.dataset.paths[:1]}
    path = tmp_path / 'pictures' / name
    if backend == 'tifffile':
        tifffile = pytest.importorskip('tifffile')
        tifffile.imwrite(path.with_suffix('.tif'), values)
        path.with_suffix('.tif').rename(path)
    else:
        turned = Image.Exif()
        turned[0x0112] = 6  # by 90 degrees
        red = Image.fromarray(values[..., :3].clip(0, 255).astype(np.uint8))
        red.save(path, exif=turned)
    for number in range(PICTURES):
        runner.test_dataloader.dataset.paths[number] = tmp_path / 'run' / name
    runner.test()
    (row,) = rows
    assert row.image.shape == (20, 30, 3) and row.image.dtype == np.uint8
    assert row.image[0, 0].tolist() == [0, 0, 0]
    assert row.image[0, -1].tolist() == [255, 0, 0]


def test_pictures_that_cannot_be_read_are_left_out_in_one_line(tmp_path, monkeypatch):
    with_pipeline(monkeypatch)
    rows = drawn_rows(monkeypatch)
    runner = make_runner(tmp_path, dict(type=SHEET))
    for name in ('0.png', '9.png'):
        (tmp_path / name).write_bytes(b'no picture')
    runner.test()
    assert len(rows) == 6
    (line,) = re.findall('.*are missing.*', Path(runner.logger.log_file).read_text())
    assert '2 pictures are missing in predictions.png' in line and '0.png (' in line


@pytest.mark.parametrize('name', ['draw_sheet', 'plot_curves'])
def test_what_cannot_be_drawn_does_not_end_a_run(name, tmp_path, monkeypatch):
    def fail(*_, **__) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(picture_hooks, name, fail)
    runner = make_runner(tmp_path, dict(type=SHEET), dict(type=CURVES))
    runner.train()
    assert runner.iter == 2
    log = Path(runner.logger.log_file).read_text()
    assert re.search(r'no (predictions|curves)\.png: OSError.* No space left', log)


def test_ignored_pixels_are_not_painted(tmp_path, monkeypatch):
    """Those of a metric and of a head, whatever the label; the sample stays."""
    truth = torch.arange(6).reshape(1, 2, 3)
    item = Pictures.__getitem__

    def with_truth(self, index: int) -> dict:
        given = item(self, index)
        given['data_samples'].gt_sem_seg = PixelData(data=truth)
        return given

    monkeypatch.setattr(Pictures, '__getitem__', with_truth)
    monkeypatch.setattr(Share, 'ignore_index', 4, raising=False)
    rows = drawn_rows(monkeypatch)
    runner = make_runner(tmp_path, dict(type=SHEET, num_images=1))
    runner.model.head = nn.Identity()
    runner.model.head.num_classes, runner.model.head.ignore_index = 4, 5
    runner.test()
    assert rows[0].sample.gt_sem_seg.data.tolist() == [[[0, 1, 2], [3, 255, 255]]]
    assert truth.max() == 5


def test_sheet_without_class_names_warns_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, 'metainfo', {})
    runner = make_runner(tmp_path, dict(type=SHEET))
    runner.train()
    assert runner.iter == 2
    assert 'no predictions.png' in Path(runner.logger.log_file).read_text()
    assert not (tmp_path / 'run' / 'predictions.png').exists()


def test_curves_without_a_log_warn_and_go_on(tmp_path):
    runner = make_runner(tmp_path, dict(type=CURVES), backends=())
    runner.train()
    assert 'LocalVisBackend' in Path(runner.logger.log_file).read_text()
    assert not (tmp_path / 'run' / 'curves.png').exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch) -> Terminal:
    """Stand in for sys.stdout; to be called in the test, for pytest sets it too."""
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '100')
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setattr(ProgressBarHook, 'bar', None)
    return terminal


def streams(runner: Runner) -> list:
    handlers = runner.logger.handlers
    return [one.stream for one in handlers if type(one) is logging.StreamHandler]


def test_bar_shares_the_terminal_with_the_log(tmp_path, monkeypatch):
    terminal = open_terminal(monkeypatch)
    runner = make_runner(tmp_path, dict(type=BAR))
    runner.train()
    shown = terminal.getvalue()
    assert '2/2' in shown and 'lr 1.00e-01' in shown
    assert 'loss 3.0000' in shown and 'val ' in shown
    # Every log line starts on a line that has just been wiped of the bar.
    logged = [line for line in shown.splitlines() if 'Iter(' in line]
    assert len(logged) == 7
    for line in logged[1:]:
        assert re.search(r'\x1b\[2K[\d/]+ [\d:]+ - mmengine', line), repr(line)
    assert sys.stdout is terminal and streams(runner) == [terminal]


def test_no_bar_where_there_is_no_terminal(tmp_path, monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr(sys, 'stdout', plain)
    make_runner(tmp_path, dict(type=BAR)).train()
    assert 'Iter(train) [2/2]' in plain.getvalue()
    assert '━' not in plain.getvalue() and ProgressBarHook.bar is None


def test_next_run_ends_the_bar_of_a_failed_one(tmp_path, monkeypatch):
    terminal = open_terminal(monkeypatch)
    failed = make_runner(tmp_path / 'failed', dict(type=BAR), fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        failed.train()
    assert ProgressBarHook.bar is not None
    runner = make_runner(tmp_path / 'next', dict(type=BAR))
    runner.train()
    assert sys.stdout is terminal and ProgressBarHook.bar is None
    assert streams(failed) == [terminal] and streams(runner) == [terminal]


def test_interrupted_process_gives_the_cursor_back():
    script = """
import logging, sys
from mmpatchconvnet.engine.hooks.progress_bar import TerminalBar
bar = TerminalBar(logging.getLogger())
bar.update(bar.progress.add_task('train', total=2, status=''), 1, 'eta')
raise KeyboardInterrupt
"""
    ours, theirs = os.openpty()
    environment = os.environ | dict(TERM='xterm')
    subprocess.run(
        [sys.executable, '-c', script], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert 'KeyboardInterrupt' in shown
    assert shown.count('\x1b[?25l') == 1  # hidden by the bar
    assert shown.rindex('\x1b[?25h') > shown.rindex('train')
