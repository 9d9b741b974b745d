"""Official PatchConvNet checkpoints, with our names for `mmpretrain.ImageClassifier`.

The official files are listed in
https://github.com/facebookresearch/deit/blob/main/README_patchconvnet.md
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, said in one sentence."""


OFFICIAL_URL = 'https://dl.fbaipublicfiles.com/deit'
OFFICIAL_FILES = (
    's60_224_1k',
    's120_224_1k',
    'b60_224_1k',
    'b120_224_1k',
    's60_224_21k',
    's60_384_21k',
    's60_512_21k',
    'b60_224_21k',
    'b60_384_21k',
    'b120_224_21k',
    'b120_384_21k',
    's60_multi_scratch_1k',
    's60_multi_finetune_1k',
)

# Official key -> ours. `*` stands for weight and bias, {i} for the number of a block.
PARTS = ('weight', 'bias')
STEM = {
    'patch_embed.proj.0.0.weight': 'backbone.stem.convs.0.weight',
    'patch_embed.proj.2.0.weight': 'backbone.stem.convs.1.weight',
    'patch_embed.proj.4.0.weight': 'backbone.stem.convs.2.weight',
    'patch_embed.proj.6.0.weight': 'backbone.stem.convs.3.weight',
}
BLOCK = {
    'blocks.{i}.gamma_1': 'backbone.blocks.{i}.gamma',
    'blocks.{i}.norm1.*': 'backbone.blocks.{i}.norm.*',
    'blocks.{i}.attn.qkv_pos.0.*': 'backbone.blocks.{i}.pointwise_in.*',
    'blocks.{i}.attn.qkv_pos.2.*': 'backbone.blocks.{i}.depthwise.*',
    'blocks.{i}.attn.qkv_pos.4.conv_reduce.*': 'backbone.blocks.{i}.gate.reduce.*',
    'blocks.{i}.attn.qkv_pos.4.conv_expand.*': 'backbone.blocks.{i}.gate.expand.*',
    'blocks.{i}.attn.qkv_pos.5.*': 'backbone.blocks.{i}.pointwise_out.*',
}
POOLING = {
    'cls_token': 'neck.cls_token',
    'blocks_token_only.0.gamma_1': 'neck.gamma_1',
    'blocks_token_only.0.gamma_2': 'neck.gamma_2',
    'blocks_token_only.0.norm1.*': 'neck.norm1.*',
    'blocks_token_only.0.norm2.*': 'neck.norm2.*',
    'blocks_token_only.0.attn.q.*': 'neck.attn.q.*',
    'blocks_token_only.0.attn.k.*': 'neck.attn.k.*',
    'blocks_token_only.0.attn.v.*': 'neck.attn.v.*',
    'blocks_token_only.0.attn.proj.*': 'neck.attn.proj.*',
    'blocks_token_only.0.mlp.fc1.*': 'neck.mlp.fc1.*',
    'blocks_token_only.0.mlp.fc2.*': 'neck.mlp.fc2.*',
    'norm.*': 'neck.norm.*',
}
HEAD = {'head.*': 'head.fc.*'}


def rename_table(depth: int) -> dict[str, str]:
    """Official key -> ours for a trunk of `depth` blocks and its pooling."""
    rows = [*STEM.items(), *POOLING.items()]
    for i in range(depth):
        rows += [(a.format(i=i), b.format(i=i)) for a, b in BLOCK.items()]
    return dict(expand(rows))


def expand(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each row as it is, or once for the weight and once for the bias."""
    for official, ours in rows:
        if official.endswith('*'):
            for part in PARTS:
                yield official.replace('*', part), ours.replace('*', part)
        else:
            yield official, ours


def convert_deit_checkpoint(state_dict: Mapping) -> dict[str, Tensor]:
    """Rename an official checkpoint for `mmpretrain.ImageClassifier`.

    Args:
        state_dict: The official tensors, bare or under `model`. A model with one token
            for each class (`s60_multi_*`) is recognized by its many heads, which become
            the one weight (K, C) and bias (K,) of `PerTokenLinearHead`.

    Returns:
        The same tensors under `backbone.`, `neck.` and `head.`.

    Raises:
        CheckpointError: A key is unknown or one is missing; nothing is converted.

    Example:
        >>> convert_deit_checkpoint({'pos_embed': torch.zeros(1)})
        Traceback (most recent call last):
        mmpatchconvnet.checkpoints.CheckpointError: this is no PatchConvNet ...
    """
    official: dict[str, Tensor] = dict(state_dict.get('model', state_dict))
    blocks = [re.match(r'blocks\.(\d+)\.', key) for key in official]
    depth = 1 + max((int(found[1]) for found in blocks if found), default=0)
    num_heads = sum(bool(re.fullmatch(r'head\.\d+\.weight', key)) for key in official)

    table = rename_table(depth)
    if num_heads:
        head_keys = {f'head.{k}.{p}' for k in range(num_heads) for p in PARTS}
    else:
        table.update(expand(HEAD.items()))
        head_keys = set()
    check_keys(
        official.keys(),
        table.keys() | head_keys,
        'this is no PatchConvNet checkpoint',
        'give one of the official files, as it is',
    )

    converted = {ours: official[key] for key, ours in table.items()}
    if num_heads:
        for part in PARTS:
            heads = [official[f'head.{k}.{part}'] for k in range(num_heads)]
            converted[f'head.{part}'] = torch.cat(heads)
    return converted


def check_keys(given: Set[str], expected: Set[str], subject: str, remedy: str) -> None:
    """Raise unless the two are equal, naming some of the keys that differ."""
    unknown, missing = sorted(given - expected), sorted(expected - given)
    faults = [
        f'{fault} {len(keys)} keys {", ".join(keys[:3])}{" ..." * (len(keys) > 3)}'
        for fault, keys in (('has the unknown', unknown), ('misses the', missing))
        if keys
    ]
    if faults:
        raise CheckpointError(f'{subject}: it {" and ".join(faults)}; {remedy}.')


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint: a file, a URL, or `deit://NAME`.

    Files are read with `weights_only=True`: no code in them is run.

    Raises:
        CheckpointError: There is no such file, or more than data in it.
    """
    if '://' in path:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    elif not Path(path).is_file():
        raise CheckpointError(f'{path} is no file: give a checkpoint.')
    else:
        checkpoint = load_file(path)
    for key in ('state_dict', 'model'):
        checkpoint = checkpoint.get(key, checkpoint)
    return dict(checkpoint)


def load_file(
    path: str | Path, map_location: str | torch.device | None = 'cpu'
) -> dict:
    """Read a file that holds tensors, and besides at most what mmengine logs."""
    # The classes of mmengine's log buffers; older versions do not list them.
    allowed: list = getattr(mmengine_checkpoint, 'get_torch_safe_globals', list)()
    torch.serialization.add_safe_globals(allowed)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).split('\n')[0]
        raise CheckpointError(
            f'{path} is torn or holds more than tensors ({reason}): give a checkpoint '
            'that is whole and saved as a state_dict.'
        ) from None


def load_weights(
    model: nn.Module, path: str, prefix: str = '', optional: str | None = None
) -> None:
    """Load a checkpoint of this very model; a key too many or too few is an error.

    Args:
        model: A model without its distributed wrapper.
        path: A file, a URL, or `deit://NAME`.
        prefix: Take only the keys that start with it, without it.
        optional: A pattern of keys that may be there and are not used.

    Raises:
        CheckpointError: There is no such file, or its keys or shapes are not the
            model's.
    """
    weights = {
        key.removeprefix(prefix): value
        for key, value in read_weights(path).items()
        if key.startswith(prefix)
    }
    own = model.state_dict()
    if optional:
        weights = {
            key: value
            for key, value in weights.items()
            if key in own or not re.match(optional, key)
        }
    part = f' under {prefix!r}' if prefix else ''
    subject = f'{path}{part} does not fit {type(model).__name__}'
    remedy = 'give the checkpoint and the config of one model'
    check_keys(weights.keys(), own.keys(), subject, remedy)
    for key, value in weights.items():
        if value.shape != own[key].shape:
            raise CheckpointError(
                f'{subject}: its {key} has shape {tuple(value.shape)}, not '
                f'{tuple(own[key].shape)}; {remedy}.'
            )
    model.load_state_dict(weights)


def check_start(model: nn.Module, path: str, resume: bool) -> None:
    """Raise unless a training of this model can start from a checkpoint.

    To resume, all keys must be the model's; to start from its weights, as in
    fine-tuning with other classes, at least one tensor must fit.
    """
    weights, own = read_weights(path), model.state_dict()
    name = type(model).__name__
    if resume:
        remedy = 'give a checkpoint of this config'
        check_keys(weights.keys(), own.keys(), f'{path} does not fit {name}', remedy)
    elif not any(k in own and own[k].shape == v.shape for k, v in weights.items()):
        raise CheckpointError(
            f'{path} has no tensor that fits {name}: give a checkpoint of a similar '
            'model in load_from, or leave it out.'
        )


@CheckpointLoader.register_scheme(prefixes='deit://')
def load_deit_checkpoint(
    filename: str, map_location: str | torch.device | None = None
) -> dict:
    """What `deit://s60_224_1k` stands for: the official file, converted in memory.

    `deit://PATH` reads a file. A name is looked for where torch keeps its downloads
    (`$TORCH_HOME/hub/checkpoints/s60_224_1k.pth`) and downloaded to that place, by one
    process of a machine, if it is not there.

    Raises:
        CheckpointError: There is neither such a file nor an official one of this name,
            or it cannot be downloaded.
    """
    name = filename.removeprefix('deit://')
    place = Path(torch.hub.get_dir(), 'checkpoints', f'{name}.pth')
    if Path(name).is_file():
        place = Path(name)
    elif name not in OFFICIAL_FILES:
        raise CheckpointError(
            f'{filename} is no official checkpoint: give deit:// with a file or one of '
            f'{", ".join(OFFICIAL_FILES)}.'
        )
    elif not place.is_file():
        if get_local_rank() == 0:
            download(f'{OFFICIAL_URL}/{name}.pth', place)
        barrier()
    return dict(state_dict=convert_deit_checkpoint(load_file(place, map_location)))


def download(url: str, place: Path) -> None:
    """Fetch a file, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(place))
    except OSError as error:
        raise CheckpointError(
            f'{url} cannot be downloaded ({error}): put it at {place}.'
        ) from None
