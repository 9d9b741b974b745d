"""Width, depth and LayerScale of the published columns, and indices into them."""

from collections.abc import Sequence

# The letter is the width, the number the depth; only s60 starts its LayerScale at 1e-4.
ARCHITECTURES: dict[str, dict] = {
    's60': dict(embed_dims=384, depth=60, layer_scale_init_value=1e-4),
    's120': dict(embed_dims=384, depth=120, layer_scale_init_value=1e-6),
    'b60': dict(embed_dims=768, depth=60, layer_scale_init_value=1e-6),
    'b120': dict(embed_dims=768, depth=120, layer_scale_init_value=1e-6),
    'l60': dict(embed_dims=1024, depth=60, layer_scale_init_value=1e-6),
    'l120': dict(embed_dims=1024, depth=120, layer_scale_init_value=1e-6),
}


def resolve_arch(arch: str | dict) -> dict:
    """The settings of a named architecture, or a checked copy of those given."""
    if isinstance(arch, str):
        if arch.lower() not in ARCHITECTURES:
            raise ValueError(
                f'arch={arch!r} is unknown: give one of {", ".join(ARCHITECTURES)}, or '
                'dict(embed_dims=..., depth=...).'
            )
        return ARCHITECTURES[arch.lower()]
    settings = {'layer_scale_init_value': 1e-4, **arch}
    if set(settings) != {'embed_dims', 'depth', 'layer_scale_init_value'}:
        raise ValueError(
            f'arch has the keys {sorted(arch)}: give embed_dims, depth and, if wanted, '
            'layer_scale_init_value.'
        )
    if settings['embed_dims'] < 8 or settings['embed_dims'] % 8:
        raise ValueError(
            f'embed_dims={settings["embed_dims"]} does not fit the stem, which starts '
            'with an eighth of it: give a multiple of 8.'
        )
    if settings['depth'] < 1:
        raise ValueError(f'depth={settings["depth"]} leaves no block: give at least 1.')
    return settings


def resolve_indices(
    name: str, indices: int | Sequence[int], length: int
) -> tuple[int, ...]:
    """Sorted indices from 0 to length - 1; negative ones count from the end."""
    given = [indices] if isinstance(indices, int) else list(indices)
    for i in given:
        if not -length <= i < length:
            raise ValueError(
                f'{name}={indices} is out of range: {i} is not between {-length} and '
                f'{length - 1}.'
            )
    resolved = sorted(i % length for i in given)
    if len(set(resolved)) < len(resolved):
        raise ValueError(f'{name}={indices} names a map twice: give each one once.')
    return tuple(resolved)
