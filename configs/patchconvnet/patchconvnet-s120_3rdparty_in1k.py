"""The official S120, trained on ImageNet-1k: 83.2 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s120_3rdparty_in1k.py \
        deit://s120_224_1k
"""

_base_ = 'patchconvnet-s120_32xb64-lamb-400e_in1k.py'
