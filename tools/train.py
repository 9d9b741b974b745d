"""Train any config of mmpretrain, mmdet or mmseg.

python tools/train.py configs/mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py
"""

import os
from pathlib import Path

# Waiting CPU threads must not spin: data workers and other programs share the cores,
# and training was 10 times slower for it. OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmpatchconvnet.checkpoints import CheckpointError
from mmpatchconvnet.engine.distributed import end_processes
from mmpatchconvnet.engine.launch import (
    argument_parser,
    build_runner,
    load_config,
    use_amp,
)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        '--seed', type=int, help='seed of all random numbers; --resume keeps its own'
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (GPU)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the last one in the work dir',
    )
    settings = vars(parser.parse_args())
    amp, resume = settings.pop('amp'), settings.pop('resume')
    try:
        cfg = load_config(**settings)
        if amp:
            use_amp(cfg)
        if resume == 'auto':
            cfg.resume = resume
        elif resume is not None:
            cfg.resume, cfg.load_from = True, resume
        runner = build_runner(cfg, training=True)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    try:
        runner.train()
    except CheckpointError as error:  # of init_cfg, before the first step
        raise SystemExit(f'error: {error}') from None
    except KeyboardInterrupt:
        if not Path(cfg.work_dir, 'last_checkpoint').is_file():
            raise SystemExit(
                f'stopped before a checkpoint in {cfg.work_dir}.'
            ) from None
        raise SystemExit(
            f'stopped: --resume goes on from the last checkpoint in {cfg.work_dir}.'
        ) from None


if __name__ == '__main__':
    main()
    end_processes()
