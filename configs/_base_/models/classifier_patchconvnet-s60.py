"""The small classifier on PatchConvNet-S60 with official weights in the column."""

_base_ = 'classifier_patchconvnet-tiny.py'

width = 384
model = dict(
    backbone=dict(
        arch='s60',
        norm_cfg=None,
        drop_path_rate=0.05,
        block_impl='lean',
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='deit://s60_224_1k',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=width),
    head=dict(in_channels=width),
)
del width  # or it would become a setting
