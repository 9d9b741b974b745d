"""HAT-Net-Tiny on ImageNet-1k under the recipe of Swin-T, for a fair comparison.

Stochastic depth 0.1 is that of PVT, whose settings the authors follow.
"""

_base_ = 'transcnn-tiny_16xb64_in1k.py'

model = dict(backbone=dict(arch='hat_tiny'), head=dict(in_channels=384))
