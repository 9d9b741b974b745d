"""`mmpatchconvnet predict`: files, messages and exit status."""

import csv
import io
import os
import socket
import sys

import numpy as np
import pytest
from config_files import ROOT
from rich.console import Console

from mmpatchconvnet import cli
from mmpatchconvnet.inference.folder import per_second, show_progress
from mmpatchconvnet.inference.outputs import printable

PICTURE = ROOT / 'docs/scenes.webp'


def predict(monkeypatch, *arguments):
    """Run the command; return its exit status or message, None if it succeeds."""
    monkeypatch.setattr(sys, 'argv', ['', 'predict', *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    return None


@pytest.mark.det
def test_a_folder_is_predicted(monkeypatch, work_dir, pictures, tmp_path, capsys):
    settings = '--min-score', '0', '--batch-size', '2', '--no-pictures'
    code = predict(
        monkeypatch, work_dir('mask_rcnn'), pictures, '--out', tmp_path, *settings
    )
    assert code is None
    shown = capsys.readouterr().out
    assert '5 pictures done' in shown
    assert f'checkpoint: {work_dir("mask_rcnn") / "iter_8.pth"}' in shown
    with (tmp_path / 'objects.csv').open(encoding='utf-8-sig') as file:
        files = {row['file'] for row in csv.DictReader(file)}
    assert files == {str(pictures / f'{number}.png') for number in range(5)}
    assert not (tmp_path / 'pictures').exists()


@pytest.mark.cls
def test_results_are_replaced_on_request_only(
    monkeypatch, work_dir, pictures, tmp_path, capsys
):
    """The second run finds its own drawings in the folder, and leaves them out."""
    (tmp_path / 'a.png').write_bytes((pictures / '0.png').read_bytes())
    out = tmp_path / 'found'
    arguments = work_dir('classifier'), tmp_path, '--out', out, '--recursive'
    assert predict(monkeypatch, *arguments) is None
    table = (out / 'objects.csv').read_bytes()
    (tmp_path / 'b.png').write_bytes((pictures / '1.png').read_bytes())
    code = predict(monkeypatch, *arguments)
    assert 'already has objects.csv and predictions.json' in code
    assert '--overwrite' in code
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/c.png').write_text('no picture')
    unread = arguments[0], tmp_path / 'bad', '--out', out, '--overwrite'
    assert predict(monkeypatch, *unread) == 1
    (tmp_path / 'bad/c.png').unlink()
    assert (out / 'objects.csv').read_bytes() == table
    mistake = predict(monkeypatch, *arguments, '--overwrite', '--batch-size', '0')
    assert 'batch_size=0' in mistake and (out / 'objects.csv').read_bytes() == table
    capsys.readouterr()
    assert predict(monkeypatch, *arguments, '--overwrite') is None
    assert '2 pictures done' in capsys.readouterr().out
    assert (out / 'objects.csv').read_text().count('\n') == 3


@pytest.mark.cls
@pytest.mark.parametrize('name', ['[red]a:cat:.png', os.fsdecode(b'a\xe4.png')])
def test_any_file_name_is_printed_as_it_is(
    name, monkeypatch, work_dir, tmp_path, capsys
):
    (tmp_path / name).write_bytes(b'')
    out = tmp_path / '[x]'
    assert predict(monkeypatch, work_dir('classifier'), tmp_path, '--out', out) == 1
    shown = capsys.readouterr().out
    assert f'{printable(name)} is an empty file' in shown and '[x]' in shown
    assert '0 pictures done' in shown


@pytest.mark.cls
def test_a_picture_that_cannot_be_read_is_named(
    monkeypatch, work_dir, pictures, tmp_path, capsys
):
    for number in (0, 1):
        picture = pictures / f'{number}.png'
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    (tmp_path / '0b.png').write_text('no picture')
    out = tmp_path / 'out'
    code = predict(monkeypatch, work_dir('classifier'), tmp_path, '--out', out)
    assert code == 1
    shown = capsys.readouterr().out
    assert '0b.png cannot be read' in shown
    assert '2 pictures done' in shown and '1 could not be read' in shown
    drawn = {path.name for path in (out / 'pictures').iterdir()}
    assert drawn == {'0.png.jpg', '1.png.jpg'}


@pytest.mark.cls
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none'], 'none does not exist'),
        (['.', '--scale', '9', '3'], 'scale is 9 to 3'),
        (['.', '--tile', '64', '--overlap', '32'], 'overlap by 32'),
        (['.', '--device', 'cuda:77'], 'cuda:77'),
        (['a', '--serve'], '--out and --serve are given'),
        ([PICTURE, '--batch-size', '0'], 'batch_size=0'),
        ([PICTURE, '--min-score', '1.5'], 'min_score=1.5'),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments, message, monkeypatch, work_dir, tmp_path
):
    source, *settings = arguments
    code = predict(
        monkeypatch, work_dir('classifier'), source, '--out', tmp_path, *settings
    )
    assert str(code).startswith('error: ') and message in code


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('run', 'there is no SOURCE and no --out DIR'),
        ('a.py', 'there is no CHECKPOINT and no SOURCE and no --out DIR'),
        ('a.py b.pth', 'there is no SOURCE and no --out DIR'),
        ('a.py b.pth --out c', 'there is no SOURCE'),
        ('run pictures', 'there is no --out DIR'),
        ('run a.png b.png c.png', '3 paths after the model are given'),
        ('run a.pth pictures --serve', '2 paths after the model are given'),
    ],
)
def test_all_that_is_missing_is_named(arguments, message, monkeypatch):
    code = predict(monkeypatch, *arguments.split())
    assert code.startswith(f'error: {message}: give MODEL [CHECKPOINT] SOURCE --out')


@pytest.mark.cls
def test_a_port_that_cannot_be_used_is_named(monkeypatch, work_dir):
    folder = work_dir('classifier')
    assert 'port 80000 ' in predict(monkeypatch, folder, '--serve', '80000')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        code = predict(monkeypatch, folder, '--serve', port)
    assert f'port {port} cannot be used (Address already in use)' in code


@pytest.mark.parametrize(
    ('rate', 'text'), [(0.032, '0.03'), (3.44, '3.4'), (9.96, '10'), (123.4, '123')]
)
def test_rates_are_plain_numbers(rate, text):
    assert per_second(rate) == f'{text} a second'


def test_progress_without_a_terminal_is_plain_lines(monkeypatch):
    clock = iter(range(0, 1000, 6))  # seconds
    monkeypatch.setattr('time.monotonic', lambda: next(clock))
    file = io.StringIO()
    items = list(show_progress(range(5), 5, Console(file=file)))
    assert items == list(range(5))
    lines = file.getvalue().splitlines()
    assert lines[0].startswith('2 of 5 pictures, ') and len(lines) == 2


def test_progress_on_a_terminal_is_a_bar():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    assert sum(show_progress(np.arange(4), 4, console)) == 6
    shown = file.getvalue()
    assert all(part in shown for part in ('pictures', '━', '4/4', '0:00:00'))
