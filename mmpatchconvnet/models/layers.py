"""Small layers shared by the column, the pooling and the pyramids."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONEDNN_LINEAR = (
    getattr(torch.ops.mkldnn, '_linear_pointwise', None)
    if torch.backends.mkldnn.is_available()
    else None
)


def fast_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` without gradients, on a CPU through oneDNN.

    There torch asks MKL, which takes about twice the time on AMD processors with
    AVX-512.
    """
    if (
        ONEDNN_LINEAR is None
        or torch.compiler.is_compiling()  # which takes it with constant weights only
        or x.device.type != 'cpu'
        or x.dtype != torch.float32  # bfloat16 goes to oneDNN anyway
    ):
        return F.linear(x, weight, bias)
    return ONEDNN_LINEAR(x, weight, bias, 'none', [], '')


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W).

    A subclass of `nn.LayerNorm`, so that optimizers find it where they look for norms
    (`norm_decay_mult`). A map in channels-last memory is normalized without a copy.
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
