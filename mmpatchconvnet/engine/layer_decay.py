"""Layer-wise learning-rate decay for classifiers, detectors and segmentors alike.

The rate of a layer is multiplied by `decay_rate` once for each group above it,
as in BEiT (https://arxiv.org/abs/2106.08254) and ConvNeXt. Depth comes from the
backbone's own `get_layer_depth`, the protocol of mmpretrain's backbones, so no
architecture is named here.
"""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmpatchconvnet.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with two more keys in `paramwise_cfg`.

    - `decay_rate`, in (0, 1]: factor of the learning rate from group to group.
    - `num_groups` (12): number of groups into which the blocks are divided. With one
      group for each of 60 blocks, the stem would hardly train (0.9 ** 61 is 0.0016).

    The stem is group 0, and the blocks are groups 1 to `num_groups`. Everything outside
    the backbone (necks, heads) keeps the full rate. For example

        optim_wrapper = dict(
            constructor='mmpatchconvnet.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.8, norm_decay_mult=0, flat_decay_mult=0))

    Raises:
        ValueError: A key is out of range, or the model's backbone has no
            `get_layer_depth`.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        self.decay_rate = self.paramwise_cfg.get('decay_rate')
        self.num_groups = self.paramwise_cfg.get('num_groups', 12)
        if self.decay_rate is None or not 0 < self.decay_rate <= 1:
            raise ValueError(
                f'paramwise_cfg has decay_rate={self.decay_rate}: give one in (0, 1].'
            )
        if self.num_groups < 1:
            raise ValueError(
                f'paramwise_cfg has num_groups={self.num_groups}: give 1 or more.'
            )

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Collect the parameters of a module; the last call scales their rates."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:  # mmengine calls this for each module; the model is last
            return
        names = {param: name for name, param in module.named_parameters()}
        for group in params:
            scale = self.scale(module, names[group['params'][0]])
            group['lr'] = scale * group.get('lr', self.optimizer_cfg['lr'])

    def scale(self, model: nn.Module, name: str) -> float:
        """Factor of the learning rate of a parameter."""
        backbone: Any = model.backbone
        if not hasattr(backbone, 'get_layer_depth'):
            raise ValueError(
                f'{type(backbone).__name__} has no get_layer_depth, which layer '
                'decay needs: use a backbone of mmpatchconvnet or mmpretrain.'
            )
        depth, num_layers = backbone.get_layer_depth(name, 'backbone.')
        num_blocks = num_layers - 2
        num_groups = min(self.num_groups, num_blocks)
        if depth == 0:
            group = 0
        elif depth <= num_blocks:
            group = 1 + (depth - 1) * num_groups // num_blocks
        else:
            group = num_groups + 1
        return self.decay_rate ** (num_groups + 1 - group)
