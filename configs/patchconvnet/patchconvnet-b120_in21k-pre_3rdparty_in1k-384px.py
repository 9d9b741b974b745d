"""The official B120, pre-trained on ImageNet-21k: 86.9 top-1 at 384 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-b120_in21k-pre_3rdparty_in1k-384px.py \
        deit://b120_384_21k
"""

_base_ = 'patchconvnet-b120_32xb64-lamb-400e_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

test_pipeline = _base_.test_pipeline
of_type(test_pipeline, 'ResizeEdge').scale = 438
of_type(test_pipeline, 'CenterCrop').crop_size = 384
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
