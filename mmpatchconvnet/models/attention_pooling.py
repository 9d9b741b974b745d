"""Attention pooling: a learned class token looks at the map once.

Paper: "Augmenting convolutional networks with attention-based aggregation",
Touvron et al. 2021, https://arxiv.org/abs/2112.13692
Official code: https://github.com/facebookresearch/deit (patchconvnet_models.py)
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmpatchconvnet.models.layers import Mlp
from mmpatchconvnet.models.strict_init import StrictModule
from mmpatchconvnet.registry import MODELS


class ClassAttention(nn.Module):
    """Attention whose queries are class tokens and whose keys are others."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(embed_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj: nn.Module = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, queries: Tensor, keys: Tensor, return_attention: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Updates of the queries (B, K, C), and the attention (B, heads, K, N) or None.

        Without the attention they come from torch's fused kernel. Queries (1, K, C) are
        the same for all pictures, and are projected once.
        """

        def split_heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        q = split_heads(self.q(queries))  # (B, heads, K, C/heads)
        k = split_heads(self.k(keys))  # (B, heads, N, C/heads)
        v = split_heads(self.v(keys))
        q = q.expand(k.shape[0], -1, -1, -1)
        attention = None
        if return_attention:
            q = q * q.shape[-1] ** -0.5
            attention = (q @ k.transpose(-2, -1)).softmax(-1)  # (B, heads, K, N)
            update = attention @ v
        else:
            update = F.scaled_dot_product_attention(q, k, v)
        return self.proj(update.transpose(1, 2).flatten(2)), attention

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merge the projection into that of the values, which saves its K rows.

        The weights of each query sum to 1, so a bias passes unchanged. Several heads
        are kept as they are: each would need values of the full width.
        """
        if self.num_heads > 1 or not isinstance(self.proj, nn.Linear):
            return
        self.v.bias.copy_(self.proj(self.v.bias))
        self.v.weight.copy_(self.proj.weight @ self.v.weight)
        self.proj = nn.Identity()


@MODELS.register_module()
class AttentionPooling(StrictModule):
    """Pools a map into class tokens with one attention block; a neck of a classifier.

    It replaces `GlobalAveragePooling` behind any backbone. One token attends
    to itself and to the map; several tokens, such as one for each class
    (`num_tokens=num_classes` with `PerTokenLinearHead`), attend to the map alone, as in
    the official code.

    Args:
        in_channels: Channels C of the map.
        num_tokens: Number K of class tokens.
        num_heads: Heads of the attention; the paper uses one.
        mlp_ratio: Hidden width of the token's MLP, as a multiple of C.
        layer_scale_init_value: Start of the two LayerScales. The official models use
            1e-4 (S60) or 1e-6; a short training from random weights does better with 1.
        init_cfg: Initialization of mmengine.

    Raises:
        ValueError: `in_channels` is no multiple of `num_heads`, there is no token, or
            a map of another width is given.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import AttentionPooling
        >>> pool = AttentionPooling(in_channels=32)
        >>> (token,), attention = pool(torch.rand(2, 32, 7, 9), return_attention=True)
        >>> tuple(token.shape), tuple(attention.shape)
        ((2, 32), (2, 1, 1, 7, 9))
    """

    def __init__(
        self,
        in_channels: int,
        num_tokens: int = 1,
        num_heads: int = 1,
        mlp_ratio: float = 3.0,
        layer_scale_init_value: float = 1e-4,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if in_channels % num_heads:
            raise ValueError(
                f'in_channels={in_channels} cannot be split among '
                f'num_heads={num_heads}: give a divisor of {in_channels}.'
            )
        if num_tokens < 1:
            raise ValueError(f'num_tokens={num_tokens}: give 1 or more.')
        self.in_channels = in_channels
        self.num_tokens = num_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, num_tokens, in_channels))
        self.norm1 = nn.LayerNorm(in_channels, eps=1e-6)
        self.attn = ClassAttention(in_channels, num_heads)
        self.gamma_1 = nn.Parameter(torch.full((in_channels,), layer_scale_init_value))
        self.norm2 = nn.LayerNorm(in_channels, eps=1e-6)
        self.mlp = Mlp(in_channels, int(in_channels * mlp_ratio))
        self.gamma_2 = nn.Parameter(torch.full((in_channels,), layer_scale_init_value))
        self.norm = nn.LayerNorm(in_channels, eps=1e-6)

        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self, x: Tensor | Sequence[Tensor], return_attention: bool = False
    ) -> tuple[Tensor] | tuple[tuple[Tensor], Tensor]:
        """
        Args:
            x: A map (B, C, H, W), or several of which the last is pooled.
            return_attention: Also give the attention over the map.

        Returns:
            A tuple holding (B, C) for one token, (B, K, C) for several. With
            `return_attention`, that tuple and (B, heads, K, H, W): softmax weights in
            [0, 1], whose sum is below 1 by what a single token gives to itself.
        """
        if not isinstance(x, Tensor):
            x = x[-1]
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'AttentionPooling got a tensor of shape {tuple(x.shape)}: give a map '
                f'(B, {self.in_channels}, H, W), or set in_channels to its width.'
            )
        batch, _, height, width = x.shape
        patches = x.flatten(2).transpose(1, 2)  # (B, H*W, C)

        queries = self.norm1(self.cls_token)  # (1, K, C)
        keys = self.norm1(patches)
        if self.num_tokens == 1:
            keys = torch.cat((queries.expand(batch, -1, -1), keys), dim=1)
        update, attention = self.attn(queries, keys, return_attention)
        tokens = self.cls_token + self.gamma_1 * update  # (B, K, C)
        tokens = tokens + self.gamma_2 * self.mlp(self.norm2(tokens))
        tokens = self.norm(tokens)

        pooled = (tokens.squeeze(1) if self.num_tokens == 1 else tokens,)
        if attention is None:
            return pooled
        over_map = attention[..., -height * width :]
        return pooled, over_map.unflatten(-1, (height, width))
