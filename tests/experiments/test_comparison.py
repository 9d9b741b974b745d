"""Runs of several seeds: their rows, their tables, and the tables in the READMEs."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config
from rich.console import Console

from mmpatchconvnet.compat.hosts import HOSTS, package_versions
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.datasets import write_scenes
from mmpatchconvnet.datasets.folds import by_name, write_folds
from mmpatchconvnet.engine.launch import load_config
from mmpatchconvnet.engine.provenance import (
    git_state,
    short_commit,
)
from mmpatchconvnet.experiments import comparison
from mmpatchconvnet.experiments.comparison import compare, find_row
from mmpatchconvnet.experiments.pages import fill_rows
from mmpatchconvnet.experiments.recipes import recipe_of, settings_of, training_size
from mmpatchconvnet.experiments.rows import append_row, read_rows
from mmpatchconvnet.experiments.runs import TrainingError
from mmpatchconvnet.experiments.scores import ON_TRAINING, SCORES, draw_scores
from mmpatchconvnet.experiments.tables import fill_tables

ROOT = Path(__file__).parents[2]
NUCLEI = ROOT / 'configs/demo/mask-rcnn_patchconvnet-tiny_nuclei.py'
TINY = """
_base_ = '{base}'
from mmpatchconvnet.engine.config_edits import of_type
train_cfg = dict(max_iters=4, val_interval=4)
of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = 30
model = dict(backbone=dict(arch=dict(embed_dims=16, depth=1)),
             neck=dict(in_channels=16), head=dict(in_channels=16))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
"""


def row(config: str, **scores: str) -> dict[str, str]:
    empty = {title: '' for title, _ in SCORES.values()}
    costs = {'backbone parameters': '1500000', 'multiply-adds': '2000000000'}
    return {'config': config, **costs, **empty, **scores}


def test_seeds_become_mean_and_deviation():
    rows = [row('a', mIoU='50'), row('b', mIoU='40'), row('a', mIoU='52')]
    assert draw_scores(rows).splitlines() == [
        '| config | backbone, M | multiply-adds, G | mIoU | runs |',
        '| --- | --- | --- | --- | --- |',
        '| `a` | 1.50 | 2.00 | 51.0 ± 1.4 | 2 |',
        '| `b` | 1.50 | 2.00 | 40.0 | 1 |',
    ]


def test_empty_columns_are_left_out():
    rows = [row('a', mIoU='50'), row('b'), row('c', **{'mask AP': '30'})]
    table = draw_scores(rows, '^[ab]').splitlines()
    assert table[0] == '| config | backbone, M | multiply-adds, G | mIoU | runs |'
    assert table[3] == '| `b` | 1.50 | 2.00 |  | 1 |'
    assert len(table) == 4


def test_tables_are_replaced_and_the_rest_of_the_page_is_not():
    page = 'before\n<!-- scores: ^a -->\nold\n<!-- end -->\n<!-- models: . -->\n'
    filled = fill_tables(page, 'scores', lambda pattern: f'drawn {pattern}\n')
    assert filled == page.replace('old', 'drawn ^a')


def test_a_row_of_another_recipe_is_an_error(tmp_path):
    key = dict(config='a', data='fold0', seed='0')
    rows = [dict(key, recipe='one')]
    for column in key:
        assert find_row(rows, {**key, column: 'other'}, 'one') is None
    assert find_row(rows, key, 'one') is rows[0]
    with pytest.raises(ValueError, match=r'a with seed 0 on fold0.*--rows'):
        find_row(rows, key, 'two')
    append_row(tmp_path / 'rows.csv', rows[0])
    with pytest.raises(ValueError, match=r'config, steps.*--rows'):
        append_row(tmp_path / 'rows.csv', dict(config='a', steps='3'))


@pytest.mark.parametrize(
    'page',
    [
        'README.md',
        'docs/results.md',
        'configs/comparison/README.md',
        'configs/ablation/README.md',
    ],
)
def test_tables_match_the_rows(page):
    text = (ROOT / page).read_text()
    assert '<!-- scores: ' in text
    assert fill_rows(text) == text, 'run mmpatchconvnet tables --rows'


def test_a_table_shows_the_scores_that_it_names():
    rows = [row('a', **{'mask AP': '30', 'box AP': '31'})]
    assert draw_scores(rows, '^a -> mask AP').splitlines()[0] == (
        '| config | backbone, M | multiply-adds, G | mask AP | runs |'
    )


@pytest.mark.det
@pytest.mark.seg
@pytest.mark.cls
def test_rows_match_the_current_configs():
    folders = ('demo', 'comparison', 'ablation')
    configs = {p.stem: p for f in folders for p in (ROOT / 'configs' / f).glob('*.py')}
    installed = package_versions()
    recipes = {}
    for row in read_rows(ROOT / 'benchmarks/comparison.csv'):
        if all(row[host] == installed.get(host) for host in HOSTS):
            assert recipes.setdefault(row['config'], row['recipe']) == row['recipe']
    if not recipes:
        pytest.skip('the rows were measured with other versions of the hosts.')
    for name, recipe in recipes.items():
        now = recipe_of(Config.fromfile(configs[name]))
        assert now == recipe, f'{name} has changed: measure it again'


@pytest.mark.det
@pytest.mark.parametrize(
    'change',
    [
        'train_dataloader = dict(num_workers=0, persistent_workers=False)',
        'train_dataloader = dict(dataset=dict(data_root="elsewhere/"))',
        "default_hooks = dict(checkpoint=dict(interval=1))\nwork_dir = 'mine'",
        "custom_hooks = [dict(type='EmptyCacheHook')]\nhelper = 3",
        "model = dict(backbone=dict(block_impl='lean'))",
    ],
)
def test_a_row_stays_valid_if_no_score_changes(change, tmp_path):
    assert recipe_of(changed(NUCLEI, change, tmp_path)) == recipe_of_nuclei()


@pytest.mark.det
def test_a_row_stays_valid_if_the_data_moves():
    moved = load_config(str(NUCLEI), data_root='elsewhere')
    assert recipe_of(moved) == recipe_of_nuclei()


@pytest.mark.det
@pytest.mark.parametrize(
    'change',
    [
        'model = dict(backbone=dict(drop_path_rate=0.1))',
        'optim_wrapper = dict(optimizer=dict(lr=2e-3))',
        'train_cfg = dict(max_iters=401)',
        "of_type(_base_.param_scheduler, 'CosineAnnealingLR').end = 401",
        "of_type(_base_.train_dataloader.dataset.pipeline, 'RandomFlip').prob = 0",
        'train_dataloader = dict(batch_size=2)',
        "val_dataloader = dict(dataset=dict(ann_file='other.json'))",
        'randomness = dict(deterministic=True)',
    ],
)
def test_a_row_is_invalid_if_a_score_changes(change, tmp_path):
    assert recipe_of(changed(NUCLEI, change, tmp_path)) != recipe_of_nuclei()


@cache
def recipe_of_nuclei() -> str:
    return recipe_of(Config.fromfile(NUCLEI))


def changed(base: Path, change: str, folder: Path) -> Config:
    child = folder / 'child.py'
    edits = 'from mmpatchconvnet.engine.config_edits import of_type'
    child.write_text(f"_base_ = '{base}'\n{edits}\n{change}\n")
    return Config.fromfile(child)


def crop_of(kind: str, size: Sequence[float]) -> dict:
    return dict(type='mmdet.RandomCrop', crop_type=kind, crop_size=size)


@pytest.mark.parametrize(
    ('steps', 'size'),
    [
        ([dict(type='RandomCrop', crop_size=(64, 48)), dict(type='Flip')], (64, 48)),
        ([dict(type='mmpretrain.RandomResizedCrop', scale=96)], (96, 96)),
        ([dict(type='RandomResizedCrop', scale=(96, 64))], (96, 64)),
        ([dict(type='RandomCrop', crop_size=8), dict(type='Resize', scale=9)], None),
        ([dict(type='Flip')], None),
        ([dict(type='RandomCrop', crop_size=8), dict(type='MinIoURandomCrop')], None),
        ([crop_of('relative_range', (0.5, 0.5))], None),
        ([crop_of('relative', (1, 1))], None),
        ([crop_of('absolute_range', (64, 96))], None),
        ([crop_of('absolute', [64, 48])], (64, 48)),
    ],
)
def test_the_last_crop_sets_the_size_of_training_images(steps, size):
    assert training_size(steps) == size


@pytest.mark.cls
def test_a_size_of_two_numbers_is_counted(tmp_path):
    change = (
        'size = (64, 32)\n'
        "of_type(_base_.train_pipeline, 'RandomResizedCrop').scale = size\n"
        'train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))'
    )
    base = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    changed(base, change, tmp_path)
    half = settings_of(tmp_path / 'child.py')['multiply-adds']
    assert 0.4 < int(half) / int(settings_of(base)['multiply-adds']) < 0.6


@pytest.mark.cls
def test_wrapped_data_and_optimizers_without_a_rate_have_a_row(tmp_path):
    base = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    wrapped = """
data = _base_.train_dataloader.dataset
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adagrad'))
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[
        dict(type='RepeatDataset', times=2, dataset=data), {other}]))
"""
    plain = settings_of(base)['multiply-adds']
    changed(base, wrapped.format(other='data'), tmp_path)
    settings = settings_of(tmp_path / 'child.py')
    assert (settings['multiply-adds'], settings['learning rate']) == (plain, '')
    other = (
        "dict(type='CustomDataset', pipeline=[dict(type='RandomCrop', crop_size=8)])"
    )
    changed(base, wrapped.format(other=other), tmp_path)
    assert settings_of(tmp_path / 'child.py')['multiply-adds'] == ''  # two sizes


@pytest.mark.det
def test_the_recipe_is_read_before_a_host_changes_the_config():
    assert settings_of(NUCLEI)['recipe'] == recipe_of(Config.fromfile(NUCLEI))


@pytest.mark.cls
@pytest.mark.parametrize(
    ('header', 'roots', 'message'),
    [
        ('config,seed,recipe\na,0,x\n', ['fold0'], r'other columns, as of an older'),
        ('', ['a/fold0', 'b/fold0'], r'the same name among fold0, fold0: rename'),
    ],
)
def test_what_cannot_be_written_later_is_refused_at_once(
    header, roots, message, tmp_path
):
    rows_file = tmp_path / 'rows.csv'
    rows_file.write_text(header)
    config = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    with pytest.raises(ValueError, match=message):
        compare([config], [0], [Path(r) for r in roots], rows_file, tmp_path, Console())


@pytest.mark.cls
def test_an_unknown_argument_is_named_with_its_config(tmp_path):
    base = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    changed(base, 'model = dict(neck=dict(foo=1))', tmp_path)
    with pytest.raises(ConfigError, match=r'child\.py: model\.neck\.foo is no argum'):
        settings_of(tmp_path / 'child.py')


@pytest.mark.cls
def test_all_data_are_looked_for_before_the_first_training(tmp_path, monkeypatch):
    base = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    found, other = tmp_path / 'found.py', tmp_path / 'other.py'
    found.write_text(TINY.format(base=base))
    prefix = "train_dataloader['dataset'] = dict(data_prefix='elsewhere')\n"
    other.write_text(found.read_text() + prefix)
    data = write_scenes(tmp_path / 'scenes', num_train=2, num_val=2) / 'classes'
    trained = []

    def train(*arguments, **_):
        trained.append(arguments)
        raise TrainingError

    monkeypatch.setattr(comparison, 'run_training', train)
    rows_file = tmp_path / 'rows.csv'
    arguments = [0], [data], rows_file, tmp_path, Console()
    with pytest.raises(ConfigError, match=rf"{other}: .*elsewhere' of train_data"):
        compare([found, other], *arguments)
    assert not trained
    # A config whose runs all have a row needs no data.
    key = dict(config='other', data='classes', seed='0', **{ON_TRAINING: ''})
    append_row(rows_file, dict(key, recipe=settings_of(other)['recipe']))
    with pytest.raises(TrainingError):
        compare([found, other], *arguments)


@pytest.mark.cls
@pytest.mark.slow
def test_a_run_with_a_row_is_skipped(tmp_path):
    scenes = write_scenes(tmp_path / 'scenes', num_train=8, num_val=4) / 'classes'
    folds = write_folds(scenes, tmp_path / 'folds', by_name('[0-9]+'), 2)
    config = tmp_path / 'tiny.py'
    base = ROOT / 'configs/demo/classifier_patchconvnet-tiny_scenes.py'
    config.write_text(TINY.format(base=base))
    rows_file = tmp_path / 'rows.csv'
    console = Console(file=io.StringIO())
    for _ in range(2):
        rows = compare(
            [config], [3], folds, rows_file, tmp_path / 'runs', console, True
        )
    assert read_rows(rows_file) == rows
    assert [row['data'] for row in rows] == ['fold0', 'fold1']
    for row in rows:
        assert (row['config'], row['seed'], row['steps'], row['batch']) == (
            'tiny', '3', '4', '4',
        )  # fmt: skip
        assert 0 <= float(row['top-1']) <= 100
        assert 0 <= float(row['on training pictures']) <= 100
        assert int(row['multiply-adds']) > 0 and row['torch']
        assert row['commit'] == short_commit(git_state(ROOT))
