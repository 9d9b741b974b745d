"""Configs drawn at random: the data root, and options on the command line."""

from pathlib import Path
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st
from mmengine.config import Config

from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine.config_options import check_options
from mmpatchconvnet.engine.launch import replace_data_root
from mmpatchconvnet.nested import make_plain, walk

NAMES = st.sampled_from(
    (
        'model',
        'train_cfg',
        'type',
        'ann_file',
        'data_prefix',
        'resume',
        'crop',
        'lr',
        '0',
    )
)
FOLDERS = st.lists(st.sampled_from(('data', 'a', 'a b', 'é', '..')), min_size=1)
PATHS = FOLDERS.map('/'.join)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | PATHS


def nested(leaves: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=2).map(tuple)
            | st.dictionaries(NAMES, inner, max_size=3)
        ),
        max_leaves=8,
    )


def leaves_of(node: Any) -> dict[str, Any]:
    found = walk(node)
    return {k: v for k, v in found if not isinstance(v, (dict, list, tuple))}


@given(
    st.dictionaries(NAMES, nested(LEAVES), max_size=4),
    PATHS,
    st.sampled_from(('', '/', '//')),
    PATHS.map(lambda path: f'/{path}') | PATHS,
    st.booleans(),
)
def test_paths_below_the_data_root_move_and_nothing_else(tree, old, end, new, at_top):
    inside = [old, f'{old}/', f'{old}/x/y.json', f'{old}2', f'x/{old}']
    loader = dict(dataset=dict(type='CocoDataset', data_root=old + end, inside=inside))
    settings = dict(tree, train_dataloader=loader)
    if at_top:
        settings['data_root'] = old + end
    before = Config(settings).to_dict()
    cfg = replace_data_root(Config(settings), new)
    assert Config(settings).to_dict().keys() == cfg.to_dict().keys()
    moved, root = leaves_of(cfg.to_dict()), str(Path(new))
    for key, value in leaves_of(before).items():
        if isinstance(value, str) and (value == old or value.startswith(f'{old}/')):
            assert Path(moved[key]) == Path(root, value[len(old) :].strip('/'))
        else:
            assert moved[key] is value or moved[key] == value or value != value
    assert moved['train_dataloader.dataset.data_root'] == root
    assert moved['train_dataloader.dataset.inside.3'] == f'{old}2'


@given(st.dictionaries(NAMES, nested(LEAVES), max_size=4), st.text() | PATHS)
def test_without_a_data_root_there_is_one_sentence(tree, root):
    try:
        replace_data_root(Config(tree), root)
    except ConfigError as error:
        assert 'nothing to replace' in str(error)
    else:
        raise AssertionError('what was replaced?')


PARTS = (
    NAMES | st.sampled_from(('1', '²', '', 'x y', '-1', 'model')) | st.text(max_size=3)
)
KEYS = st.lists(PARTS, min_size=1, max_size=4).map('.'.join)
VALUES = LEAVES | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(NAMES, nested(LEAVES), max_size=4),
    st.dictionaries(KEYS, VALUES, min_size=1, max_size=3),
)
@example(tree={}, options={'model': None, 'model.x': 1})
@example(tree=dict(model=True), options={'model': None})
@example(tree={}, options={'lr': 1})  # nothing is near
@example(tree=dict(model=[{}]), options={'model.\u00b2.x': 1})  # a digit, but no number
def test_any_option_is_set_or_refused_in_one_sentence(tree, options):
    cfg = Config(tree)
    try:
        check_options(cfg, options)
    except ConfigError as error:
        assert str(error).endswith('.')
        return
    cfg.merge_from_dict(options)
    settings = dict(walk(cfg.to_dict()))
    for key, value in options.items():
        assert repr(settings[key]) == repr(value)


@given(nested(LEAVES))
def test_plain_settings_stay_as_they_are(tree):
    assume(isinstance(tree, dict))
    assert repr(make_plain(tree)) == repr(tree)
