"""The official B60, pre-trained on ImageNet-21k: 86.5 top-1 at 384 pixels.

    python tools/test.py configs/patchconvnet/official/b60_384_21k.py \
        deit://b60_384_21k
"""

_base_ = '../patchconvnet-b60_32xb64-lamb-400e_in1k.py'

_base_.test_dataloader.dataset.pipeline[1].scale = 438
_base_.test_dataloader.dataset.pipeline[2].crop_size = 384
