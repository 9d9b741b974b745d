"""Without the stem's fine maps, which the base adds to the pyramid."""

_base_ = '../demo/upernet_patchconvnet-tiny_aerial.py'

_base_.model.backbone.stem_indices = ()
_base_.model.neck.stem_channels = ()
