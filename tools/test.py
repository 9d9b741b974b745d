"""Evaluate a checkpoint with any config of mmpretrain, mmdet or mmseg.

python tools/test.py CONFIG work_dirs/NAME/iter_400.pth
"""

import argparse

from mmengine.config import DictAction

from mmpatchconvnet.checkpoints import load_weights
from mmpatchconvnet.engine.launch import build_runner, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a config file of any host')
    parser.add_argument('checkpoint', help='what tools/train.py has saved')
    parser.add_argument('--work-dir', help='folder of the log and pictures')
    parser.add_argument('--data-root', help="takes the place of the config's data_root")
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings laid over the config, e.g. test_dataloader.num_workers=0',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        cfg = load_config(
            args.config,
            work_dir=args.work_dir,
            data_root=args.data_root,
            options=args.cfg_options,
            launcher=args.launcher,
        )
        runner = build_runner(cfg, training=False)
        load_weights(getattr(runner.model, 'module', runner.model), args.checkpoint)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    runner.test()


if __name__ == '__main__':
    main()
