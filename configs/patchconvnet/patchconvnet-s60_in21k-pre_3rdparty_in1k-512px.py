"""The official S60, pre-trained on ImageNet-21k: 85.4 top-1 at 512 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s60_in21k-pre_3rdparty_in1k-512px.py \
        deit://s60_512_21k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

test_pipeline = _base_.test_pipeline
of_type(test_pipeline, 'ResizeEdge').scale = 585
of_type(test_pipeline, 'CenterCrop').crop_size = 512
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
