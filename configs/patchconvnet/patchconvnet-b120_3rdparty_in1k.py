"""The official B120, trained on ImageNet-1k: 84.1 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-b120_3rdparty_in1k.py \
        deit://b120_224_1k
"""

_base_ = 'patchconvnet-b120_32xb64-lamb-400e_in1k.py'
