"""Train any config of mmpretrain, mmdet or mmseg.

python tools/train.py configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py
"""

import argparse

from mmengine.config import DictAction

from mmpatchconvnet.engine.launch import build_runner, load_config, use_amp


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a config file of any host')
    parser.add_argument('--work-dir', help='folder of logs, curves and checkpoints')
    parser.add_argument('--data-root', help="takes the place of the config's data_root")
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the last one in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (GPU)')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings laid over the config, e.g. train_dataloader.batch_size=4',
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
            seed=args.seed,
        )
        if args.amp:
            use_amp(cfg)
        if args.resume is not None:
            cfg.resume = True
            cfg.load_from = None if args.resume == 'auto' else args.resume
        runner = build_runner(cfg, training=True)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    runner.train()


if __name__ == '__main__':
    main()
