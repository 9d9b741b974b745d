"""The official TransCNN-Tiny, trained on ImageNet-1k: 80.4 top-1 at 256 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/transcnn-tiny_3rdparty_in1k-256px.py \
        transcnn://tiny
"""

_base_ = 'transcnn-tiny_16xb64_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

test_pipeline = _base_.test_pipeline
of_type(test_pipeline, 'ResizeEdge').scale = 292
of_type(test_pipeline, 'CenterCrop').crop_size = 256
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
