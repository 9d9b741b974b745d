"""The tables of mmcv's ops are drawn from the stock configs and from the ops."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mmpatchconvnet.experiments.rows import read_rows
from mmpatchconvnet.experiments.stock_configs import (
    NoRandomWeights,
    draw_stock,
    measure_folder,
)
from mmpatchconvnet.experiments.tables import fill_tables

ROOT = Path(__file__).parents[2]
CARAFE = """
custom_imports = dict(imports=['mmcv.ops'])
model = dict(type='carafe', channels=4, scale_factor=2)
"""


def write(folder: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        (folder / f'{name}.py').write_text(text)
    return [folder / f'{name}.py' for name in texts]


def test_configs_of_a_folder_are_counted_by_their_ops(tmp_path):
    configs = write(
        tmp_path,
        first=CARAFE,
        second=f'{CARAFE}lr = 1',
        third="model = dict(type='BN', num_features=2)",
        unknown="model = dict(type='Nowhere')",
        data='lr = 1',
    )
    rows = list(measure_folder('mmengine', 'folder', configs))
    found = [(r['configs'], r['ops_on_cpu'], r['ops_on_gpu']) for r in rows]
    assert found == [('1', '', ''), ('1', '', ''), ('2', 'carafe', 'carafe')]
    assert [row['fault'].partition(':')[0] for row in rows] == ['', 'KeyError', '']
    assert '| mmengine | 4 | 3 | 3 | 3 |' in draw_stock(rows, 'hosts')
    assert '| 1 |' in draw_stock(rows, 'faults') and 'Nowhere' in draw_stock(
        rows, 'faults'
    )


def test_a_missing_op_is_named_with_its_device():
    row = dict(host='mmdet', folder='clrnet', configs='3', ops_on_cpu='roi_align')
    rows = [row | dict(ops_on_gpu='border_align roi_align', fault='')]
    missing = draw_stock(rows, 'missing')
    assert '| mmdet::clrnet | `border_align` | GPU | 3 |' in missing
    assert '| sum | 3 | 3 | 3 | 0 |' in draw_stock(rows, 'hosts')
    drawn = draw_stock(rows, 'ops')
    assert '| `border_align` |  | an error |' in drawn and '| `roi_align` |' in drawn
    assert '`border_align`' not in draw_stock(rows, 'others')
    with pytest.raises(ValueError, match=r"table 'none'.*choose from hosts"):
        draw_stock(rows, 'none')


def test_no_random_weights_are_drawn():
    state = torch.get_rng_state()
    with NoRandomWeights():
        layer = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(3, 8, 3))
        nn.init.trunc_normal_(layer[0].weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_tables_are_those_of_the_rows():
    page = (ROOT / 'docs/ops.md').read_text()
    rows = read_rows(ROOT / 'benchmarks/stock_configs.csv')
    drawn = fill_tables(page, 'stock configs', lambda what: draw_stock(rows, what))
    assert page.count('<!-- stock configs: ') == 5
    assert drawn == page, 'run mmpatchconvnet tables --rows'
