"""What mmengine reads from a pickle is data: `ann_file='x.pkl'` runs no code."""

import pickle
from collections import OrderedDict
from datetime import date
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from booby_trap import write_raw_trap
from mmengine.dataset import BaseDataset

import mmpatchconvnet.checkpoints  # noqa: F401


def test_an_annotation_file_runs_no_code(tmp_path):
    marker = tmp_path / 'code_has_run'
    path = write_raw_trap(tmp_path / 'trap.pkl', marker)
    with pytest.raises(ValueError, match=r'holds \w+\.mkdir, .* give a file of plain'):
        BaseDataset(ann_file=path)
    assert not marker.exists()


class Load:
    """torch's way to the memory of a tensor, which unpickles in full."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple:
        return torch.storage._load_from_bytes, (self.content,)


def test_the_memory_of_a_tensor_runs_no_code(tmp_path):
    marker = tmp_path / 'code_has_run'
    trap = write_raw_trap(tmp_path / 'trap.pth', marker)
    with open(trap, 'rb') as file:
        mmengine.dump(Load(file.read()), tmp_path / 'x.pkl')
    with pytest.raises(ValueError, match=r'the pickle .* give a file of plain'):
        mmengine.load(tmp_path / 'x.pkl')
    assert not marker.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    mmengine.dump(np.zeros(1, [('field', 'O')]), tmp_path / 'x.pkl')
    with pytest.raises(ValueError, match=r'holds numpy\.dtype'):
        mmengine.load(tmp_path / 'x.pkl')


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_the_hosts_write_is_read(protocol, tmp_path):
    """Results of `--out`, and annotations."""
    given = dict(
        pred_instances=dict(
            scores=torch.rand(3),
            bboxes=torch.rand(3, 8)[:, ::2].half(),
            labels=torch.tensor([1, 2, 3]),
            masks=[dict(size=[4, 4], counts=b'\x01\xff')],
        ),
        meta=OrderedDict(shape=(3, 4), flip=None, ids={1, 2}, scale=np.float32(0.5)),
        boxes=np.arange(4.0).reshape(2, 2).T,
        values=(Path('a/b'), date(2026, 1, 31), range(3), tuple(np.unique(['b', '']))),
    )
    path = tmp_path / 'results.pkl'
    mmengine.dump([given], path, protocol=protocol)
    (read,) = mmengine.load(path)
    assert read['meta'] == given['meta'] and read['values'] == given['values']
    assert (read['boxes'] == given['boxes']).all()
    for name, value in given['pred_instances'].items():
        found = read['pred_instances'][name]
        assert found == value if name == 'masks' else torch.equal(found, value)
