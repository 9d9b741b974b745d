"""The official TransCNN-Large, trained on ImageNet-1k: 84.2 top-1 at 256 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/transcnn-large_3rdparty_in1k-256px.py \
        transcnn://large
"""

_base_ = 'transcnn-large_16xb64_in1k.py'

from mmpatchconvnet.engine.config_edits import of_type

test_pipeline = _base_.test_pipeline
of_type(test_pipeline, 'ResizeEdge').scale = 292
of_type(test_pipeline, 'CenterCrop').crop_size = 256
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
