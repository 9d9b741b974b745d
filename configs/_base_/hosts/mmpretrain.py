"""A config of mmpretrain: its types, and the visualizer that its inferencer needs."""

default_scope = 'mmpretrain'
visualizer = dict(
    type='mmpretrain.UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
