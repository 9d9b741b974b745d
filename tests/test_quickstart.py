"""The notebook runs from top to bottom, with fewer pictures and steps."""

import os
import sys
from pathlib import Path

import pytest
from config_files import ROOT

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')
pytest.importorskip('onnxscript')

pytestmark = [pytest.mark.slow, pytest.mark.cls]


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent), prepend=os.pathsep)
    book = nbformat.read(ROOT / 'docs/quickstart.ipynb', 4)
    shorter = {'num_train=200': 'num_train=30', 'steps = 250': 'steps = 24'}
    for cell in book.cells:
        for text, replacement in shorter.items():
            if text in cell.source:
                cell.source = cell.source.replace(text, replacement)
                shorter = {key: shorter[key] for key in shorter if key != text}
    assert not shorter
    settings = dict(timeout=300, resources=dict(metadata=dict(path=str(tmp_path))))
    nbclient.NotebookClient(book, **settings).execute()
    assert book.cells[-1].outputs[-1].text == '61 of 61 pictures get the same class\n'
    shown = [
        output
        for cell in book.cells
        for output in cell.get('outputs', [])
        if 'image/png' in output.get('data', {})
    ]
    assert len(shown) == 2
