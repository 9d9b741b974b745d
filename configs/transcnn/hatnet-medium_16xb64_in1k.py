"""HAT-Net-Medium on ImageNet-1k under the recipe of Swin-S, for a fair comparison.

Stochastic depth 0.3 is that of PVT, whose settings the authors follow.
"""

_base_ = 'transcnn-medium_16xb64_in1k.py'

model = dict(backbone=dict(arch='hat_medium'), head=dict(in_channels=512))
