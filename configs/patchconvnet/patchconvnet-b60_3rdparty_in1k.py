"""The official B60, trained on ImageNet-1k: 83.5 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-b60_3rdparty_in1k.py \
        deit://b60_224_1k
"""

_base_ = 'patchconvnet-b60_32xb64-lamb-400e_in1k.py'
