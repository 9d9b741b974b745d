"""The index of models: costs of each config, computed from the config itself.

`metafile.yml` lists the configs of a folder, each with a `Baseline`: the host's config
to compare it with. This module fills in parameters and multiply-adds, and draws the
table of the folder's `README.md`.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config
from torch import nn

from mmpatchconvnet.experiments.complexity import (
    build_on_meta,
    count_macs,
    count_parameters,
)
from mmpatchconvnet.experiments.tables import markdown
from mmpatchconvnet.nested import without

# Settings of a model that neither number depends on.
FREE = {'init_cfg', 'drop_path_rate', 'block_impl', '_scope_'}


def fill_metafile(metafile: dict, root: Path) -> dict:
    """The same index with `Parameters` and `FLOPs` of every model.

    As in the hosts' files, FLOPs means multiply-adds. `Input Size`, height x width, is
    read from the `Metadata` of the model or else of its collection.

    Args:
        metafile: The parsed file, with `Collections` and `Models`.
        root: The folder to which its paths are relative.
    """
    sizes = {c['Name']: c['Metadata']['Input Size'] for c in metafile['Collections']}
    built: dict[str, nn.Module] = {}  # many configs share a model
    counted: dict[str, tuple[int, int]] = {}
    models = []
    for model in metafile['Models']:
        metadata = dict(model.get('Metadata') or {})
        size = metadata.get('Input Size', sizes[model['In Collection']])
        cfg = Config.fromfile(root / model['Config'])
        settings = str(without(cfg.model.to_dict(), FREE))
        if settings not in built:
            built[settings] = build_on_meta(cfg)
        key = f'{size} {settings}'
        if key not in counted:
            network = built[settings]
            macs = count_macs(network, *map(int, size.split('x')))
            counted[key] = count_parameters(network), macs
        metadata['Parameters'], metadata['FLOPs'] = counted[key]
        models.append(dict(model, Metadata=metadata))
    return dict(metafile, Models=models)


def published_score(config: str, metric: str) -> float:
    """The score that the metafile of a package gives for one of its configs.

    Args:
        config: `PACKAGE::FOLDER/NAME.py`, in a folder with a `metafile.yml`.
        metric: A key of `Metrics` in it, such as `Top 1 Accuracy`.

    Raises:
        ValueError: The package is not installed, or its metafile has no such score.
    """
    package, name = config.split('::')
    if (spec := find_spec(package)) is None or spec.origin is None:
        raise ValueError(
            f'{config} has no published score: {package} is not installed.'
        )
    path = Path(spec.origin).with_name('.mim') / 'configs' / name
    for model in yaml.safe_load(path.with_name('metafile.yml').read_text())['Models']:
        if model.get('Config') == f'configs/{name}':
            for result in model.get('Results') or []:
                if metric in result['Metrics']:
                    return result['Metrics'][metric]
    raise ValueError(f'the metafile of {config} has no {metric}: give another config.')


def draw_models(models: list[dict], pattern: str) -> str:
    """A Markdown table of the models whose config name matches a pattern."""
    titles = ['config', 'baseline', 'parameters, M', 'multiply-adds, G', 'published']
    rows = [
        table_row(model)
        for model in models
        if re.search(pattern, Path(model['Config']).stem)
    ]
    return markdown(titles, rows)


def table_row(model: dict) -> list[str]:
    metadata, path = model['Metadata'], Path(model['Config'])
    metrics: dict[str, Any] = {}
    for result in model.get('Results') or []:
        metrics |= result['Metrics']
    folder = path.parts[1]  # configs/FOLDER/..., the folder of the README
    return [
        f'[`{path.stem}`]({path.relative_to(f"configs/{folder}")})',
        f'`{model["Baseline"]}`' if 'Baseline' in model else '',
        f'{metadata["Parameters"] / 1e6:.2f}',
        f'{metadata["FLOPs"] / 1e9:.1f}',
        ', '.join(f'{name} {value}' for name, value in metrics.items()),
    ]


def write_metafile(path: Path, metafile: dict) -> None:
    path.write_text(yaml.safe_dump(metafile, sort_keys=False, width=100))
