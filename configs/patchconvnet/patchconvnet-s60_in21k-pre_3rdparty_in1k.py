"""The official S60, pre-trained on ImageNet-21k: 83.5 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s60_in21k-pre_3rdparty_in1k.py \
        deit://s60_224_21k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'
