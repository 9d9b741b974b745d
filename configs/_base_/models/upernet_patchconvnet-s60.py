"""The small UperNet on PatchConvNet-S60 with official weights.

Taps and stochastic depth are as in `../columns/s60.py`; the stem's maps are added too.
"""

_base_ = 'upernet_patchconvnet-tiny.py'

width = 384
model = dict(
    backbone=dict(
        arch='s60',
        norm_cfg=None,
        out_indices=(19, 29, 39, 59),
        drop_path_rate=0.05,
        block_impl='lean',
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='deit://s60_224_1k',
            prefix='backbone.',
        ),
    ),
    neck=dict(in_channels=width, stem_channels=(width // 4, width // 2)),
    decode_head=dict(in_channels=[width] * 4),
    auxiliary_head=dict(in_channels=width),
)
del width  # or it would become a setting
