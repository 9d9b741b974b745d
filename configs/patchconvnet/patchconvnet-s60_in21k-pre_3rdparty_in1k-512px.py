"""The official S60, pre-trained on ImageNet-21k: 85.4 top-1 at 512 pixels.

For evaluation only: its training recipe is published only in part.

    python tools/test.py \
        configs/patchconvnet/patchconvnet-s60_in21k-pre_3rdparty_in1k-512px.py \
        deit://s60_512_21k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

for loader in (_base_.val_dataloader, _base_.test_dataloader):
    of_type(loader.dataset.pipeline, 'ResizeEdge').scale = 585
    of_type(loader.dataset.pipeline, 'CenterCrop').crop_size = 512
del loader  # or it would become a setting
