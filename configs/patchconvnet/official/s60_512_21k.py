"""The official S60, pre-trained on ImageNet-21k: 85.4 top-1 at 512 pixels.

For evaluation; how it was trained is published in part only.

    python tools/test.py configs/patchconvnet/official/s60_512_21k.py \
        deit://s60_512_21k
"""

_base_ = '../patchconvnet-s60_32xb64-lamb-400e_in1k.py'

for loader in (_base_.val_dataloader, _base_.test_dataloader):
    loader.dataset.pipeline[1].scale = 585
    loader.dataset.pipeline[2].crop_size = 512
del loader  # or it would become a setting
