"""Find the fastest tiles of the Triton kernels on this GPU, and keep them.

python tools/tune_kernels.py --rows benchmarks/kernels.csv

They are written to `mmpatchconvnet/models/block/triton/tiles.json` under
the name of the GPU; the table compares each kernel with what the GPU reaches in a copy
and in a product.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from mmpatchconvnet.experiments.benchmark.measure import machine
from mmpatchconvnet.experiments.rows import Row, append_row
from mmpatchconvnet.experiments.tables import markdown

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'fp32': torch.float32}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--dtype', choices=DTYPES, default='bf16')
    parser.add_argument('--rows', type=Path, help='a CSV file to add the table to')
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit('error: kernels are tuned on a GPU, and PyTorch sees none.')
    console = Console(highlight=False)
    rows = tune_all(DTYPES[args.dtype], console)
    console.print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    for row in rows if args.rows else ():
        append_row(args.rows, {**row, 'dtype': args.dtype, **machine('cuda')})


def tune_all(dtype: torch.dtype, console: Console) -> list[Row]:
    """Tune one kernel after the other; a row for each on each map."""
    from triton.testing import do_bench  # comes with PyTorch for CUDA

    from mmpatchconvnet.models.block.triton import tuning
    from mmpatchconvnet.models.block.triton.tiles import device_key

    def timer(run: Callable[[], object]) -> float:
        return do_bench(run, rep=50, return_mode='median') / 1e3

    place, rows = device_key(torch.empty(0, dtype=dtype, device='cuda')), []
    ceilings = tuning.measure_ceilings(dtype, timer)
    console.print(
        f'{place}: {ceilings.bandwidth / 1e9:.0f} GB/s in a copy, '
        f'{ceilings.product / 1e12:.0f} TFLOP/s in a product of {dtype}'
    )
    with Progress(console=console, disable=not console.is_terminal) as bar:
        for kernel in tuning.CANDIDATES:
            shapes, sizes = tuning.SHAPES, list(tuning.candidates(kernel))
            works = [tuning.make_work(kernel, s, dtype, 'cuda') for s in shapes]
            task = bar.add_task(kernel, total=len(sizes))
            chosen = tuning.tune(
                kernel, works, place, timer, partial(bar.advance, task)
            )
            console.print(f'{kernel}: {chosen}')
            for work in works:
                rows.append(tuning.row_of(kernel, work, timer(work.run), ceilings))
    tuning.write_tiles()
    return rows


if __name__ == '__main__':
    main()
