"""A config of mmseg: its types, and the visualizer that its inferencer needs."""

default_scope = 'mmseg'
visualizer = dict(
    type='mmseg.SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
