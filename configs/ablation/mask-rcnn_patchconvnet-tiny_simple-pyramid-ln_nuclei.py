"""All levels from the last tap with LayerNorm, as in ViTDet."""

_base_ = 'mask-rcnn_patchconvnet-tiny_simple-pyramid_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

of_type(_base_.model.neck, 'SimplePyramid').norm_cfg = dict(
    type='mmpatchconvnet.LayerNorm2d', eps=1e-6
)
