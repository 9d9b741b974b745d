"""A config of mmdet: its types, and the visualizer that its inferencer needs."""

default_scope = 'mmdet'
visualizer = dict(
    type='mmdet.DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
