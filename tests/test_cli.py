"""The console command: fast and complete help, tools, errors in one line."""

import argparse
import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpatchconvnet import checkpoints, cli
from mmpatchconvnet.compat import doctor
from mmpatchconvnet.experiments.runs import TrainingError, run_training

ROOT = Path(__file__).parent.parent
DEMO = 'mmpatchconvnet::demo/classifier_patchconvnet-tiny_scenes.py'
HELP_OF_ALL = """
import sys
from mmpatchconvnet import cli

for command in ([], *([name] for name in cli.COMMANDS)):
    sys.argv = ['mmpatchconvnet', *command, '--help']
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code
print('imported:', *sorted({name.partition('.')[0] for name in sys.modules}))
"""

# Scripts for measurements, which are no commands.
MEASURE = {
    'faithfulness',
    'host_tests',
    'long_run',
    'make_folds',
    'ops_table',
    'segment_by_maps',
    'test_matrix',
}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of the program, then the parser of each command."""
    parser = cli.build_parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def call(monkeypatch, *arguments: object) -> str:
    """Run a command; return its exit status or message."""
    monkeypatch.setattr(sys, 'argv', ['', *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return str(end.value.code)


def test_help_imports_neither_torch_nor_a_host(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', HELP_OF_ALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={'PYTHONPATH': str(ROOT)},
    )
    imported = set(done.stdout.rpartition('imported: ')[2].split())
    assert 'mmpatchconvnet' in imported
    heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'matplotlib'}
    assert not imported & heavy
    for name in cli.COMMANDS:
        assert f'usage: mmpatchconvnet {name} ' in done.stdout


def test_every_argument_has_a_help_text():
    for parser in parsers():
        assert parser.description
        for action in parser._actions:
            assert action.help, f'{parser.prog} {action.dest}'
        parser.format_help()  # a stray % fails here


def test_every_command_has_a_script_in_tools(monkeypatch):
    called = []
    monkeypatch.setattr(cli, 'main', lambda *command: called.append(command))
    tools = [tool for tool in (ROOT / 'tools').glob('*.py') if tool.stem not in MEASURE]
    for tool in tools:
        runpy.run_path(str(tool), run_name='__main__')
    assert sorted(called) == sorted((name,) for name in cli.COMMANDS)


def test_convert_has_the_modes_of_the_library():
    parser = argparse.ArgumentParser()
    importlib.import_module('mmpatchconvnet.cli.convert').add_arguments(parser)
    (mode,) = (action for action in parser._actions if action.dest == 'mode')
    assert tuple(mode.choices) == checkpoints.MODES
    assert all(f'{name}: ' in mode.help for name in checkpoints.MODES)


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('train none.py', r'error: none\.py is not a file: give a config file'),
        ('train mmdet::none.py', r'error: mmdet::none\.py .*PACKAGE::FOLDER/NAME'),
        pytest.param(
            f'train {DEMO}',
            r"error: data_root='data/class_folders/' .*--data-root",
            marks=pytest.mark.cls,
        ),
        (f'test {DEMO} none.pth', r'error: none\.pth is not a file'),
        ('benchmark s60+fast', r"error: s60\+fast .*'fast'.*: choose from"),
        ('benchmark none.py', r'error: none\.py is not a file'),
        ('convert to-ours none.pth out.pth', r'error: none\.pth is no'),
        ('compare none.py --data-root x', r'error: none\.py is not a file'),
        ('plot accuracy none.csv a.png', r'error: none\.csv has no rows'),
    ],
)
def test_errors_are_one_line(command, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    told = call(monkeypatch, *command.split())
    assert re.match(message, told) and '\n' not in told


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('', 'COMMAND'),
        ('fly', "invalid choice: 'fly'"),
        (f'train {DEMO} --cfg-options a=1 b', "'b' is not KEY=VALUE"),
        (f'train {DEMO} --seed x', "invalid int value: 'x'"),
        (f'train {DEMO} --data-rot x', 'usage: mmpatchconvnet train '),
        (f'train {DEMO} --data-rot x', 'train: error: unrecognized arguments: --d'),
    ],
)
def test_a_command_that_cannot_be_parsed_has_status_2(
    command, message, monkeypatch, capsys
):
    assert call(monkeypatch, *command.split()) == '2'
    assert message in capsys.readouterr().err


def test_config_options_are_parsed_as_python_values():
    command = f'train {DEMO} --cfg-options a.b=1 c=[2,x] --cfg-options d=True'
    options = cli.build_parser().parse_args(command.split()).options
    assert options == {'a.b': 1, 'c': [2, 'x'], 'd': True}


@pytest.mark.parametrize('name', ['predict', 'attention'])
@pytest.mark.parametrize('command', ['M C S --out D', 'M --out D C S', 'M C --out D S'])
def test_paths_may_come_behind_options(name, command, monkeypatch):
    given = {}
    module = importlib.import_module(f'mmpatchconvnet.cli.{name}')
    monkeypatch.setattr(module, 'run', lambda **settings: given.update(settings))
    monkeypatch.setattr(sys, 'argv', ['mmpatchconvnet', name, *command.split()])
    cli.main()
    assert (given['model'], given['paths']) == ('M', ['C', 'S'])


def test_doctor_prints_each_remedy_once(monkeypatch, capsys):
    bad = doctor.Finding('mmdet', 'missing', 'pip install onedl-mmdetection[x]')
    monkeypatch.setattr(doctor, 'examine', lambda: iter([bad, bad]))
    assert call(monkeypatch, 'doctor') == '1'
    told = capsys.readouterr().out
    assert told.count(f'{sys.executable} -m pip install onedl-mmdetection[x]') == 1


def test_an_interrupted_command_exits_with_a_message(monkeypatch):
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('mmpatchconvnet.cli.doctor.run', stop)
    assert call(monkeypatch, 'doctor') == 'stopped.'


def test_a_failed_run_shows_its_error_and_its_name(tmp_path, capfd):
    from rich.console import Console

    with pytest.raises(TrainingError, match='one run has failed with exit status 1'):
        run_training('one run', 'none.py', tmp_path, tmp_path, Console())
    told = capfd.readouterr()
    assert f'mmpatchconvnet train none.py --data-root {tmp_path}' in told.out
    assert 'error: none.py is not a file' in told.err


@pytest.mark.parametrize(
    ('command', 'function'),
    [
        ('demo', 'demo.run_demo'),
        ('compare none.py --data-root none', 'comparison.compare'),
    ],
)
@pytest.mark.parametrize('fault', [TrainingError, RuntimeError])
def test_only_a_failed_run_ends_without_a_traceback(
    command, function, fault, monkeypatch
):
    def fail(*_: object) -> None:
        raise fault('told')

    monkeypatch.setattr(f'mmpatchconvnet.experiments.{function}', fail)
    monkeypatch.setattr(sys, 'argv', ['', *command.split()])
    with pytest.raises(fault if fault is RuntimeError else SystemExit, match='told'):
        cli.main()
