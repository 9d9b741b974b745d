"""The official B60, pre-trained on ImageNet-21k: 86.5 top-1 at 384 pixels.

For evaluation; how it was trained is published in part only.

    python tools/test.py configs/patchconvnet/official/b60_384_21k.py \
        deit://b60_384_21k
"""

_base_ = '../patchconvnet-b60_32xb64-lamb-400e_in1k.py'

for loader in (_base_.val_dataloader, _base_.test_dataloader):
    loader.dataset.pipeline[1].scale = 438
    loader.dataset.pipeline[2].crop_size = 384
del loader  # or it would become a setting
