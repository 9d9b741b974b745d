"""Layers behind the stages of any backbone, for hosts whose `plugins` cannot do it.

mmdet's and mmseg's ResNet take plugins in bottleneck blocks (ResNet-50 and deeper), and
mmpretrain's takes none.
"""

from collections.abc import Mapping

from torch import nn

from mmpatchconvnet.registry import MODELS


@MODELS.register_module()
def with_plugins(backbone: dict, plugins: Mapping[str, dict]) -> nn.Module:
    """Build a backbone of a host and append a layer to some of its stages.

        backbone = dict(
            type='mmpatchconvnet.with_plugins',
            backbone=dict(type='ResNet', depth=18),
            plugins=dict(layer3=dict(type='mmpatchconvnet.HMHSA', in_channels=256)))

    Args:
        backbone: The config of the backbone.
        plugins: For each stage, by its name in the backbone (`layer3` in ResNet,
            `stages.2` in ConvNeXt), the config of a layer that keeps the shape of its
            map. It is called last in the stage, as its child `plugin`.

    Returns:
        The backbone itself. The names of its own parameters stay, so its pre-trained
        weights still load.

    Raises:
        ValueError: The backbone has no such stage, or it is not an `nn.Sequential`.

    Example:
        >>> from mmpatchconvnet.models.plugins import with_plugins
        >>> stem = dict(type='mmpatchconvnet.TransCNN')
        >>> with_plugins(stem, dict(layer3=dict(type='mmpatchconvnet.HMHSA')))
        Traceback (most recent call last):
        ValueError: plugins names the stage layer3, which TransCNN lacks: ...
    """
    model = MODELS.build(backbone)
    stages = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Sequential)
    }
    known = ', '.join(stages) or 'it has none'
    for name, layer in plugins.items():
        if name not in stages:
            raise ValueError(
                f'plugins names the stage {name}, which {type(model).__name__} lacks: '
                f'give one of its sequences ({known}).'
            )
        stages[name].add_module('plugin', MODELS.build(layer))
    model.train()  # freezes the layers in frozen stages
    return model
