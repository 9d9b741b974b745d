"""The official S60, trained on ImageNet-1k: 82.1 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s60_3rdparty_in1k.py \
        deit://s60_224_1k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'
