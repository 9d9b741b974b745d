"""The official B60, pre-trained on ImageNet-21k: 85.4 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-b60_in21k-pre_3rdparty_in1k.py \
        deit://b60_224_21k
"""

_base_ = 'patchconvnet-b60_32xb64-lamb-400e_in1k.py'
