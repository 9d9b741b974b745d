"""Sample data that needs no download: generated scenes in three dataset layouts."""

from mmpatchconvnet.datasets.scene_files import write_scenes
from mmpatchconvnet.datasets.scenes import (
    CLASSES,
    PALETTE,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
    Scene,
    draw_scene,
)

__all__ = [
    'CLASSES',
    'PALETTE',
    'SEGMENTATION_CLASSES',
    'SEGMENTATION_PALETTE',
    'Scene',
    'draw_scene',
    'write_scenes',
]
