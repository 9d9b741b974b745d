"""Semantic FPN on ADE20K with PatchConvNet-S60 instead of ResNet-50.

Schedule, optimizer and FPN width follow XCiT's Semantic FPN: AdamW at 6e-5 for 80k
steps of 8 x 2 crops; the base trains with SGD for 160k steps of 4 x 4.
"""

_base_ = [
    '../_base_/mmpatchconvnet.py',
    '../_base_/runtime.py',
    '../_base_/columns/s60.py',
    'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
]

model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.pop('column')),
    neck=[
        _base_.pop('pyramid'),
        dict(
            type='FPN',
            in_channels=[_base_.width] * 4,
            out_channels=_base_.width,
            num_outs=4,
        ),
    ],
    decode_head=dict(in_channels=[_base_.pop('width')] * 4),
)

train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
)
max_iters = 80000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, begin=1500, end=max_iters, by_epoch=False),
]
default_hooks = _base_.pop('hooks')
del max_iters  # or it would become a setting
