"""TransCNN and HAT-Net: a pyramid of hierarchical attention and convolutions.

Paper: "Transformer in convolutional neural networks" (TransCNN), revised as "Vision
transformers with hierarchical attention" (HAT-Net), Liu et al. 2021,
https://arxiv.org/abs/2106.03180, Machine Intelligence Research 21, 2024
Official code (classifier only): https://github.com/yun-liu/HAT-Net

The two releases share the attention (`hmhsa.py`) and differ in the parts around it
(`transcnn_stage.py`).
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mmpatchconvnet.checkpoints.conversion import Kind, check_kind
from mmpatchconvnet.models.backbone import (
    Backbone,
    check_arguments,
    keys_of,
    resolve_indices,
)
from mmpatchconvnet.models.hmhsa import GROUP_NORM, HierarchicalAttention
from mmpatchconvnet.models.layers import check_map
from mmpatchconvnet.models.transcnn_folded import fold, why_not_folded
from mmpatchconvnet.models.transcnn_stage import (
    Downsample,
    InvertedResidual,
    Stage,
    Stem,
    TransCNNBlock,
)
from mmpatchconvnet.registry import MODELS

FIRST = dict(
    head_dims=64,
    expansions=(4, 4, 6, 6),
    kernel_sizes=(5, 3, 5, 3),
    grid_sizes=(8, 8, 8, 1),
    pool_ratios=(8, 4, 2, 1),
    revised=False,
)
REVISED = dict(
    head_dims=64,
    expansions=(8, 8, 4, 4),
    kernel_sizes=(3, 3, 3, 3),
    grid_sizes=(8, 7, 7, 1),
    pool_ratios=(8, 4, 2, 1),
    revised=True,
)
ARCHITECTURES: dict[str, dict] = {
    'tiny': dict(
        FIRST,
        embed_dims=(64, 128, 256, 512),
        depths=(2, 2, 4, 2),
        expansions=(4, 4, 4, 4),
    ),
    'small': dict(FIRST, embed_dims=(64, 128, 256, 512), depths=(3, 4, 8, 3)),
    'medium': dict(FIRST, embed_dims=(64, 128, 320, 640), depths=(3, 4, 12, 3)),
    'large': dict(FIRST, embed_dims=(64, 128, 384, 768), depths=(3, 4, 16, 3)),
    'hat_tiny': dict(
        REVISED, embed_dims=(48, 96, 240, 384), depths=(2, 2, 6, 3), head_dims=48
    ),
    'hat_small': dict(REVISED, embed_dims=(64, 128, 320, 512), depths=(2, 3, 8, 3)),
    'hat_medium': dict(
        REVISED,
        embed_dims=(64, 128, 320, 512),
        depths=(3, 6, 18, 3),
        kernel_sizes=(5, 3, 5, 3),
    ),
    'hat_large': dict(REVISED, embed_dims=(64, 128, 320, 640), depths=(3, 8, 27, 3)),
}
IN_CONFIG: dict[Kind, str] = {
    'PatchConvNet': "give backbone=dict(type='mmpatchconvnet.PatchConvNet')",
    'TransCNN': 'give arch=tiny, small, medium or large',
    'HAT-Net': 'give arch=hat_tiny, hat_small, hat_medium or hat_large',
}
STAGE_SETTINGS = ('expansions', 'kernel_sizes', 'grid_sizes', 'pool_ratios', 'depths')


@MODELS.register_module()
class TransCNN(Backbone):
    """TransCNN or HAT-Net, a backbone for classifiers, detectors and segmentors.

    Its four stages return maps of strides 4, 8, 16 and 32, whatever the height and
    width of the image: a side of n pixels becomes ceil(n / stride) cells. The official
    code takes only multiples of 128 (TransCNN) or 224 (HAT-Net); here windows that
    reach over the border of a map attend to the part inside.

    A classifier has `mmpretrain.GlobalAveragePooling` and `mmpretrain.LinearClsHead`
    behind it. The official one also drops 0.2 of the pooled features in training.

    Args:
        arch: `tiny`, `small`, `medium`, `large` (TransCNN, the first release, with
            BatchNorm), `hat_tiny`, `hat_small`, `hat_medium`, `hat_large` (HAT-Net, the
            revised one, with GroupNorm), or a dict with `head_dims` (a number),
            `revised` (True or False), and for each of four stages `embed_dims`
            (multiples of `head_dims`), `depths`, `expansions`, `kernel_sizes` (odd),
            `grid_sizes` (1 is plain attention) and `pool_ratios`.
        in_channels: Channels of the image.
        out_indices: The stages whose map is returned, in order of depth, from 0 to 3;
            negative ones count from the end. Stages after the last of them are not
            built, so that every one gets a gradient.
        frozen_stages: -1 trains everything, 0 freezes the stem, k the stem and the
            first k stages. Frozen parts stay in eval mode.
        drop_path_rate: Stochastic depth of the last block, in [0, 1); it grows evenly
            from 0 in the first.
        with_cp: Recompute blocks in the backward pass to save memory: True one by
            one, a number k in groups of k blocks of a stage, of which only the input is
            kept. A BatchNorm counts each batch once.
        channels_last: Run in channels-last memory, which is faster: attention and 1x1
            convolutions read the channels of a cell next to each other.
        norm_cfg: Norm of all parts; None is BatchNorm for the first release and
            GroupNorm with one group for the revised one.
        init_cfg: Initialization of mmengine, such as
            `dict(type='Pretrained', checkpoint='hatnet://tiny', prefix='backbone.')`. A
            checkpoint must fit, except for stages that are not built.

    Raises:
        ValueError: An unknown `arch`, an index, rate or stage out of range, or an image
            that is empty or has other channels.

    Example:
        >>> import torch
        >>> from mmpatchconvnet import TransCNN
        >>> backbone = TransCNN('hat_tiny', out_indices=(0, 1, 2, 3)).eval()
        >>> with torch.no_grad():
        ...     maps = backbone(torch.rand(1, 3, 50, 100))
        >>> [tuple(x.shape) for x in maps]
        [(1, 48, 13, 25), (1, 96, 7, 13), (1, 240, 4, 7), (1, 384, 2, 4)]
    """

    parts = 'stages'

    def __init__(
        self,
        arch: str | dict = 'hat_tiny',
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        with_cp: bool | int = False,
        channels_last: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        settings = resolve_arch(arch)
        dims, depths = settings['embed_dims'], settings['depths']
        self.revised = revised = settings['revised']
        self.in_channels = in_channels
        self.embed_dims: tuple[int, ...] = tuple(dims)
        self.out_indices = resolve_indices('out_indices', out_indices, len(dims))
        check_arguments(
            self.parts,
            len(dims),
            self.out_indices,
            frozen_stages,
            drop_path_rate,
            with_cp,
        )
        self.depths: tuple[int, ...] = tuple(depths[: self.out_indices[-1] + 1])
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.channels_last = channels_last
        norm_cfg = norm_cfg or (GROUP_NORM if revised else dict(type='BN'))

        self.stem = Stem(in_channels, dims[0], norm_cfg)
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device='cpu'))
        self.stages = nn.ModuleList()
        for i, depth in enumerate(self.depths):
            blocks = [
                TransCNNBlock(
                    HierarchicalAttention(
                        dims[i],
                        settings['head_dims'],
                        settings['grid_sizes'][i],
                        settings['pool_ratios'][i],
                        norm_cfg,
                    ),
                    InvertedResidual(
                        dims[i],
                        settings['expansions'][i],
                        settings['kernel_sizes'][i],
                        norm_cfg,
                        revised,
                    ),
                    next(rates).item(),
                )
                for _ in range(depth)
            ]
            downsample: nn.Module = nn.Identity()
            if i:
                downsample = Downsample(dims[i - 1], dims[i], norm_cfg, revised)
            self.stages.append(Stage(downsample, blocks))
        # A checkpoint holds the stages behind the last tap too.
        self.optional_keys = keys_of('stages', range(len(self.stages), len(dims)))
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """
        Args:
            x: Images (B, in_channels, H, W), any H and W from 1 on.

        Returns:
            One map (B, C, ceil(H/s), ceil(W/s)) for each of `out_indices`, with the
            width C of that stage and its stride s of 4, 8, 16 or 32.
        """
        check_map(x, 'TransCNN', 'images', self.in_channels)
        x = x.to(next(self.parameters()).dtype)  # if it is folded in half precision
        contiguous = x.is_contiguous()
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x, self.with_cp)
            if i in self.out_indices:
                # Like the image: compiled ops of mmcv need it.
                outputs.append(x.contiguous() if contiguous else x)
        return tuple(outputs)

    def check_weights(self, path: str, keys: Iterable[str]) -> None:
        """Raise if the keys of a checkpoint are those of another backbone."""
        release: Kind = 'HAT-Net' if self.revised else 'TransCNN'
        check_kind(path, keys, (release,), IN_CONFIG)

    def foldable(self) -> dict[str, list[str]]:
        blocks = [
            f'stages.{i}.blocks.{j}'
            for i, depth in enumerate(self.depths)
            for j in range(depth)
        ]
        steps = [f'stages.{i}.downsample' for i in range(1, len(self.depths))]
        return {'the stem': ['stem'], 'steps between stages': steps, 'blocks': blocks}

    def why_not_folded(self, part: nn.Module) -> str:
        return why_not_folded(part)

    def fold(self, part: nn.Module) -> nn.Module:
        return fold(part)

    @property
    def num_blocks(self) -> int:
        """Number of blocks that are built, over all stages."""
        return sum(self.depths)

    def block_number(self, name: Sequence[str]) -> int:
        stage, part, *rest = name
        inner = int(rest[0]) if part == 'blocks' else 0
        return sum(self.depths[: int(stage)]) + inner


def resolve_arch(arch: str | dict) -> dict:
    """The settings of a named architecture, or a checked copy of given settings."""
    if isinstance(arch, str):
        if arch.lower() not in ARCHITECTURES:
            raise ValueError(
                f'arch={arch!r} is unknown: give one of {", ".join(ARCHITECTURES)}, or '
                'a dict with their settings.'
            )
        return ARCHITECTURES[arch.lower()]
    if not isinstance(arch, Mapping):
        raise ValueError(
            f'arch={arch!r} is no name and no settings: give one of '
            f'{", ".join(ARCHITECTURES)}, or a dict with their settings.'
        )
    settings = dict(arch)
    expected = ARCHITECTURES['tiny'].keys()
    if settings.keys() != expected:
        raise ValueError(
            f'arch has the keys {sorted(settings)}: give {", ".join(sorted(expected))}.'
        )
    for name in ('embed_dims', *STAGE_SETTINGS):
        values = settings[name]
        whole = isinstance(values, Sequence) and {*map(type, values)} == {int}
        if not whole or len(values) != 4 or min(values) < 1:
            raise ValueError(
                f'arch has {name}={values}: give four whole numbers from 1 on, one '
                'for each stage.'
            )
    if not isinstance(settings['revised'], bool):
        raise ValueError(
            f'arch has revised={settings["revised"]!r}: give True (HAT-Net) or False '
            '(TransCNN).'
        )
    if not all(size % 2 for size in settings['kernel_sizes']):
        raise ValueError(
            f'arch has kernel_sizes={settings["kernel_sizes"]}, which change the size '
            'of a map: give odd ones.'
        )
    return settings
