"""The layers, files and public names in the documentation exist."""

import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from mmengine.registry import Registry

import mmpatchconvnet
from mmpatchconvnet import _HOST_OF, checkpoints, compat, datasets, registry

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmpatchconvnet'
ARCHITECTURE = (ROOT / 'docs/architecture.md').read_text()
REFERENCE = sorted(
    name
    for page in (ROOT / 'docs/reference').glob('*.md')
    for name in re.findall(r'^::: (\S+)$', page.read_text(), re.MULTILINE)
)


def test_layers_are_those_that_the_linter_enforces():
    tomllib = pytest.importorskip('tomllib')  # Python 3.11
    settings = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    (contract,) = settings['tool']['importlinter']['contracts']
    table = re.search(r'\| layer \|.*?\n\n', ARCHITECTURE, re.DOTALL)[0]
    drawn = [
        re.findall(r'`(\w+)`', row.split('|')[1]) for row in table.split('\n')[2:-2]
    ]
    assert drawn == [re.findall(r'\w+', layer) for layer in contract['layers']]


def test_files_of_the_architecture_exist():
    files = set(re.findall(r'[\w/]*\w\.py\b', ARCHITECTURE))
    folders = (PACKAGE, PACKAGE / 'models/block')
    assert len(files) > 30
    assert not {f for f in files if not any((d / f).is_file() for d in folders)}


# Of a class that extends one of a host.
MARKS = {None: (), 'mmpretrain': pytest.mark.cls, 'mmseg': pytest.mark.seg}


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=MARKS[_HOST_OF.get(name.split('.')[-1])])
        for name in REFERENCE
    ],
)
def test_a_name_of_the_reference_has_a_docstring(name):
    subject = pkgutil.resolve_name(name)
    assert subject.__doc__
    methods = {
        key
        for key, member in vars(subject).items()
        if inspect.isclass(subject) and not key.startswith('_')
        if inspect.isroutine(member) or isinstance(member, property)
        if not inspect.getdoc(getattr(subject, key))  # its own, or its base class's
    }
    assert not methods


def test_every_public_name_is_in_the_reference():
    types = set()
    for one in vars(registry).values():
        if isinstance(one, Registry) and one.scope == 'mmpatchconvnet':
            one.import_from_location()
            types |= set(one.module_dict)
    public = {
        name
        for package in (mmpatchconvnet, checkpoints, compat, datasets)
        for name in package.__all__
        if callable(getattr(package, name))
    }
    listed = {name.split('.')[-1] for name in REFERENCE}
    assert not (types | public) - listed, 'add them to a page of docs/reference'


def test_faults_are_counted_and_their_tests_exist():
    text = (ROOT / 'docs/faults.md').read_text()
    rows = [
        row.strip('| ').split(' | ') for row in re.findall(r'^\| .*::.*$', text, re.M)
    ]
    lost = sum(row[2].lower().startswith('lost') for row in rows)
    counts = f'Faults tried: {len(rows)}, survived: {len(rows) - lost}, lost: {lost}.'
    assert counts in text
    for row in rows:
        assert len(row) == 4, row
        file, _, name = row[3].strip('`').partition('::')
        assert f'\ndef {name}(' in (ROOT / 'tests' / file).read_text(), row[3]
    assert len({row[3] for row in rows}) == len(rows)
