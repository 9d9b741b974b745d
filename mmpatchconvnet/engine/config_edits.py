"""Edit lists in config files: pipelines, necks, schedules.

An index such as `pipeline[2]` selects another step once a host inserts one. These
functions select a step by its type and raise an error if it is missing. A config file
imports them below its `_base_`.
"""


def of_type(steps: list[dict], kind: str) -> dict:
    """Return the only step of a type, to change it in place.

    Args:
        steps: Dicts with `type`, such as a pipeline.
        kind: The type, without the scope of a host.

    Raises:
        ValueError: There is no such step, or more than one.

    Example:
        >>> pipeline = [dict(type='mmdet.Resize', scale=8), dict(type='RandomFlip')]
        >>> of_type(pipeline, 'Resize')['scale'] = 4
        >>> pipeline[0]
        {'type': 'mmdet.Resize', 'scale': 4}
    """
    return steps[_index(steps, kind)]


def replace(steps: list[dict], kind: str, *others: dict) -> None:
    """Replace the only step of a type by others; without others, remove it.

    Args:
        steps: Dicts with `type`, changed in place.
        kind: The type, without the scope of a host.
        others: The new steps.

    Raises:
        ValueError: There is no such step, or more than one.

    Example:
        >>> pipeline = [dict(type='Resize', scale=8), dict(type='RandomFlip')]
        >>> replace(pipeline, 'Resize', dict(type='RandomCrop', crop_size=4))
        >>> replace(pipeline, 'RandomFlip')
        >>> pipeline
        [{'type': 'RandomCrop', 'crop_size': 4}]
    """
    index = _index(steps, kind)
    steps[index : index + 1] = others


def keep(settings: dict, *names: str) -> None:
    """Remove all other settings, as of a host's config of which a leaf takes the model.

    Args:
        settings: `_base_` of a config file, changed in place.
        names: The settings that stay.

    Raises:
        ValueError: There is no such setting.

    Example:
        >>> base = dict(model=dict(type='DINO'), train_cfg=dict(max_epochs=12))
        >>> keep(base, 'model')
        >>> base
        {'model': {'type': 'DINO'}}
    """
    if missing := [name for name in names if name not in settings]:
        raise ValueError(
            f'the config keeps {", ".join(missing)}, but its base only has '
            f'{", ".join(settings)}: name settings of the base.'
        )
    for name in settings.keys() - {*names}:
        del settings[name]


def _index(steps: list[dict], kind: str) -> int:
    kinds = [step['type'].split('.')[-1] for step in steps]
    if kinds.count(kind) != 1:
        raise ValueError(
            f'the config edits {kind}, which occurs {kinds.count(kind)} times in '
            f'{", ".join(kinds)}: name a type that occurs once.'
        )
    return kinds.index(kind)
