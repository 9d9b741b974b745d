"""The official S60, pre-trained on ImageNet-21k: 84.9 top-1 at 384 pixels.

    python tools/test.py configs/patchconvnet/official/s60_384_21k.py \
        deit://s60_384_21k
"""

_base_ = '../patchconvnet-s60_32xb64-lamb-400e_in1k.py'

_base_.test_dataloader.dataset.pipeline[1].scale = 438
_base_.test_dataloader.dataset.pipeline[2].crop_size = 384
