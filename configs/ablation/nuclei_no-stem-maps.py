"""Without the stem's fine maps, which the base adds to the pyramid."""

_base_ = '../demo/mask-rcnn_patchconvnet-tiny_nuclei.py'

_base_.model.backbone.stem_indices = ()
_base_.model.neck[0].stem_channels = ()
