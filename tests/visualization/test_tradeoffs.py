"""Plots of the benchmark's rows."""

import sys
from pathlib import Path

import cv2
import pytest

from mmpatchconvnet import cli
from mmpatchconvnet.experiments.rows import append_row
from mmpatchconvnet.visualization.tradeoffs import (
    plot_accuracy,
    plot_resolution,
    styles_of,
)

SETTING = {
    'task': 'classifier', 'part': 'backbone', 'pass': 'training', 'batch': '2',
    'device': 'CPU', 'threads': '1', 'torch': '2.14.1',
}  # fmt: skip


def row(model: str, size: int = 224, peak: str = '20.0') -> dict[str, str]:
    shape = {'height': str(size), 'width': str(size)}
    return {'model': model, 'ms': '12.5', 'peak MB': peak, **shape, **SETTING}


def width(path: Path) -> int:
    return cv2.imread(str(path)).shape[1]


def test_a_panel_for_each_cost_that_was_measured(tmp_path):
    accuracy = {'s60': 82.1}
    plot_accuracy([row('s60'), row('s60+lean')], accuracy, tmp_path / 'two.png')
    plot_accuracy([row('s60', peak='')], accuracy, tmp_path / 'one.png')
    assert width(tmp_path / 'two.png') == 2 * width(tmp_path / 'one.png')


def test_lines_of_one_model_differ():
    rows = [row(model) for model in ('s60', 's60+lean', 'swin-t', 's60+cp')]
    styles = styles_of(rows)
    assert len({styles[model] for model in ('s60', 's60+lean', 's60+cp')}) == 3


def test_rows_that_cannot_be_drawn_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'mine\.py.*: measure some of s60'):
        plot_accuracy([row('mine.py')], {'s60': 82.1}, tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'height, width: choose'):
        plot_accuracy([row('s60'), row('s60', 448)], {'s60': 8.0}, tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'one size: measure several with --size'):
        plot_resolution([row('s60'), row('swin-t')], tmp_path / 'a.png')


def test_the_command_draws_the_selected_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for size in (224, 448):
        append_row(Path('rows.csv'), row('s60', size))

    def draw(*arguments: str) -> str:
        """Run the command; return its error, or an empty string."""
        monkeypatch.setattr(sys, 'argv', ['', 'plot', *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return str(end.code)
        return ''

    assert draw('resolution', 'rows.csv', 'a.png') == ''
    assert width(tmp_path / 'a.png') > 1000
    one_size = draw('resolution', 'rows.csv', 'b.png', '--where', 'height=224')
    assert 'error: all rows are of images of one size' in one_size
    nothing = draw('accuracy', 'rows.csv', 'b.png', '--where', 'height=1')
    assert 'error: there is no row with height=1' in nothing
    one_model = draw('resolution', 'rows.csv', 'b.png', '--models', 's60', 'b60')
    assert 'error: there is no row with model=b60' in one_model
    wrong = draw('accuracy', 'rows.csv', 'b.png', '--where', 'colour=1')
    assert "error: there is no column 'colour'" in wrong
