"""The small Mask R-CNN on PatchConvNet-S60 with official weights.

Taps and stochastic depth are as in `../columns/s60.py`; the stem's maps are added too.
"""

_base_ = 'mask-rcnn_patchconvnet-tiny.py'

from mmpatchconvnet.engine.config_edits import of_type

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
)
of_type(_base_.model.neck, 'DeconvPyramid').update(
    in_channels=width, stem_channels=(width // 4, width // 2)
)
of_type(_base_.model.neck, 'FPN').in_channels = [width] * 4
del width  # or it would become a setting
