"""Small layers shared by the column, the pooling and the pyramids."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.registry import MODELS


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W).

    It subclasses `nn.LayerNorm`, so that mmengine treats it as a norm
    (`norm_decay_mult`). A map in channels-last memory is normalized without a copy.

    In a config it is `norm_cfg=dict(type='mmpatchconvnet.LayerNorm2d', eps=1e-6)`;
    without `eps`, mmcv's `build_norm_layer` sets 1e-5.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # (B, C, H, W)


class SqueezeExcite(nn.Module):
    """Channel gate of a map (B, C, H, W): mean over the map, two 1x1 convolutions.

    Hu et al. 2018, https://arxiv.org/abs/1709.01507, with ReLU between and a bias on
    both convolutions.
    """

    def __init__(self, num_channels: int, ratio: float = 0.25) -> None:
        super().__init__()
        num_reduced = round(num_channels * ratio)
        self.reduce = nn.Conv2d(num_channels, num_reduced, 1)
        self.expand = nn.Conv2d(num_reduced, num_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        gate = self.expand(F.relu(self.reduce(gate)))
        return x * gate.sigmoid()


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between, over the last dimension."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def check_map(x: Tensor, owner: str, kind: str, in_channels: int) -> None:
    """Raise unless it is a map (B, in_channels, H, W) that is not empty."""
    if x.dim() != 4 or x.shape[1] != in_channels:
        raise ValueError(
            f'{owner} got a tensor of shape {tuple(x.shape)}: give {kind} '
            f'(B, {in_channels}, H, W), or set in_channels to its width.'
        )
    if 0 in x.shape[2:]:
        raise ValueError(
            f'{owner} got {kind} of shape {tuple(x.shape)}, which is empty: give H and '
            'W of at least 1.'
        )
