"""Evaluate a checkpoint with any config of mmpretrain, mmdet or mmseg.

python tools/test.py CONFIG work_dirs/NAME/iter_400.pth
"""

import os

# Waiting CPU threads must not spin: data workers and other programs share the cores,
# and training was 10 times slower for it. OpenMP reads this when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import torch

from mmpatchconvnet.checkpoints import load_weights
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.engine.distributed import end_processes
from mmpatchconvnet.engine.launch import argument_parser, build_runner, load_config


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument('checkpoint', help='what tools/train.py has saved')
    parser.add_argument(
        '--deploy',
        nargs='?',
        const='float32',
        choices=('float32', 'bfloat16', 'float16'),
        help='fold the model first, as for inference, and run it in this dtype',
    )
    settings = vars(parser.parse_args())
    checkpoint, deploy = settings.pop('checkpoint'), settings.pop('deploy')
    if '://' not in checkpoint and not os.path.isfile(checkpoint):
        raise SystemExit(f'error: {checkpoint} is no file: give a checkpoint.')
    try:
        runner = build_runner(load_config(**settings), training=False)
        model = getattr(runner.model, 'module', runner.model)
        load_weights(model, checkpoint)
        if deploy:
            switch_to_deploy(model, getattr(torch, deploy))
    except ValueError as error:
        raise SystemExit(f'error: {error}') from None
    runner.test()


if __name__ == '__main__':
    main()
    end_processes()
