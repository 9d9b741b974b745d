"""Without the stem's fine maps, which the base adds to the pyramid."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

from mmpatchconvnet.engine.config_edits import of_type

_base_.model.backbone.stem_indices = ()
of_type(_base_.model.neck, 'DeconvPyramid').stem_channels = ()
