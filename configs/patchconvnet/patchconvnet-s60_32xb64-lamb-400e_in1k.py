"""PatchConvNet-S60 on ImageNet-1k under the paper's recipe, as far as it is known.

The author states LAMB, learning rate 3e-3 and batch size 2048
(https://github.com/facebookresearch/deit/issues/185). The rest is not published. 400
epochs and stochastic depth 0.05 follow XCiT-S12. Repeated augmentation, 5 epochs of
warm-up from 1e-6, weight decay 0.05 and the augmentations, which the base already has,
are defaults of the official script. Its moving average of the weights is left out, as
no source says that it was used. mmpretrain's LAMB clips gradients to norm 1 by itself.
"""

_base_ = 'patchconvnet-s60_16xb64_in1k.py'

model = dict(backbone=dict(drop_path_rate=0.05))

train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmpretrain.RepeatAugSampler', shuffle=True)
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='mmpretrain.Lamb', lr=3e-3, weight_decay=0.05),
    clip_grad=None,
    paramwise_cfg=dict(custom_keys=dict(_delete_=True, cls_token=dict(decay_mult=0.0))),
)
max_epochs, warmup_epochs = 400, 5
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6 / 3e-3,
        by_epoch=True,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=2048)
del max_epochs, warmup_epochs  # or they would become settings
