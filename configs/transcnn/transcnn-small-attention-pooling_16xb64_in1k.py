"""TransCNN-Small on ImageNet-1k with attention pooling instead of average pooling."""

_base_ = 'transcnn-small_16xb64_in1k.py'

model = dict(
    neck=dict(_delete_=True, type='mmpatchconvnet.AttentionPooling', in_channels=512)
)
