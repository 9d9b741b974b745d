"""The official S60, pre-trained on ImageNet-21k: 84.9 top-1 at 384 pixels.

For evaluation only: its training recipe is published only in part.

    python tools/test.py \
        configs/patchconvnet/patchconvnet-s60_in21k-pre_3rdparty_in1k-384px.py \
        deit://s60_384_21k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

for loader in (_base_.val_dataloader, _base_.test_dataloader):
    of_type(loader.dataset.pipeline, 'ResizeEdge').scale = 438
    of_type(loader.dataset.pipeline, 'CenterCrop').crop_size = 384
del loader  # or it would become a setting
