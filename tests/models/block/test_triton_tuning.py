"""The search for tiles: the fastest is found, used and kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('triton', reason='no triton, which comes with PyTorch for CUDA')

from mmpatchconvnet.models.block.triton import tiles, tuning

PLACE = 'cpu, 32 bit'
ROOT = Path(__file__).parents[3]


@pytest.fixture
def own_tiles(monkeypatch, tmp_path):
    """A copy of the tiles, which the test may change."""
    copy = tmp_path / 'tiles.json'
    copy.write_text(tiles.TILES.read_text())
    monkeypatch.setattr(tiles, 'TILES', copy)
    tiles.read_tiles.cache_clear()
    yield copy
    tiles.read_tiles.cache_clear()


@pytest.mark.parametrize('kernel', tuning.CANDIDATES)
def test_the_fastest_is_used_and_kept(own_tiles, monkeypatch, kernel):
    wanted = {name: sizes[-1] for name, sizes in tuning.CANDIDATES[kernel].items()}

    def timer(run) -> float:
        if tiles.read_tiles()[PLACE][kernel] != wanted:
            return 2.0
        run()  # the kernel itself takes them
        return 1.0

    work = tuning.make_work(kernel, (1, 5, 7, 16), torch.float32, 'cpu')
    assert tuning.tune(kernel, [work], PLACE, timer) == wanted
    tuning.write_tiles()
    assert json.loads(own_tiles.read_text())[PLACE] == {kernel: wanted}
    default = json.loads(own_tiles.read_text())['default']
    assert default.keys() == tuning.CANDIDATES.keys()


def test_tiles_that_do_not_run_are_passed_over(own_tiles):
    def timer(run) -> float:
        sizes = tiles.read_tiles()[PLACE]['gate']
        if sizes['BLOCK_P'] > 16:
            raise RuntimeError('out of shared memory')
        return sizes['BLOCK_C']

    work = tuning.make_work('gate', (1, 2, 2, 16), torch.float32, 'cpu')
    chosen = tuning.tune('gate', [work], PLACE, timer)
    assert (chosen['BLOCK_P'], chosen['BLOCK_C']) == (16, 32)

    def fail(run) -> float:
        raise RuntimeError('out of shared memory')

    with pytest.raises(RuntimeError, match='no tiles of gate run on cpu, 32 bit: out'):
        tuning.tune('gate', [work], PLACE, fail)


def test_the_roofline_is_the_slower_of_maps_and_product():
    ceilings = tuning.Ceilings(bandwidth=1e9, product=1e12)
    shape = (1, 10, 10, 100)
    moved = tuning.make_work('gate', shape, torch.float16, 'cpu')
    assert moved.bound(ceilings) == pytest.approx(3 * 10**4 * 2 / 1e9)
    product = tuning.make_work('gated_linear', shape, torch.float16, 'cpu')
    slow = tuning.Ceilings(bandwidth=1e9, product=1e9)
    assert product.bound(slow) == pytest.approx(2 * 100 * 100 * 100 / 1e9)
    row = tuning.row_of('gate', moved, 2 * moved.bound(ceilings), ceilings)
    assert row['of the roofline'] == '0.50'


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_there_is_nothing_to_tune():
    tool = [sys.executable, ROOT / 'tools' / 'tune_kernels.py']
    done = subprocess.run(tool, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        'error: kernels are tuned on a GPU, and PyTorch sees none.\n'
    )
