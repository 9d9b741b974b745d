"""HAT-Net-Large on ImageNet-1k under the recipe of Swin-B, for a fair comparison.

Stochastic depth 0.3 is that of PVT, whose settings the authors follow.
"""

_base_ = 'transcnn-large_16xb64_in1k.py'

model = dict(backbone=dict(arch='hat_large'), head=dict(in_channels=640))
