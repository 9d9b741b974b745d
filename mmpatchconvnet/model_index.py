"""What the index of models says of each config, computed from the config itself.

`metafile.yml` names the configs of a folder, by hand; parameters and multiply-adds are
filled in here, and the table of the folder's `README.md` is drawn from it.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from mmpatchconvnet.complexity import build_on_meta, count_macs, count_parameters

TABLE = re.compile(r'(<!-- models: (.+?) -->\n).*?(<!-- end -->)', re.DOTALL)


def fill_metafile(metafile: dict, root: Path) -> dict:
    """The same index with `Parameters` and `FLOPs` of every model.

    As in the hosts' files, FLOPs stands for multiply-adds. `Input Size`, height x
    width, is read from the model's `Metadata` or else from its collection's.

    Args:
        metafile: The parsed file, with `Collections` and `Models`.
        root: The folder that the paths in it start from.
    """
    sizes = {c['Name']: c['Metadata']['Input Size'] for c in metafile['Collections']}
    counted: dict[str, tuple[int, int]] = {}  # many configs share a model
    models = []
    for model in metafile['Models']:
        metadata = dict(model.get('Metadata') or {})
        size = metadata.get('Input Size', sizes[model['In Collection']])
        cfg = Config.fromfile(root / model['Config'])
        key = f'{size} {cfg.model}'
        if key not in counted:
            built = build_on_meta(cfg)
            macs = count_macs(built, *map(int, size.split('x')))
            counted[key] = count_parameters(built), macs
        metadata['Parameters'], metadata['FLOPs'] = counted[key]
        models.append(dict(model, Metadata=metadata))
    return dict(metafile, Models=models)


def fill_tables(page: str, metafile: dict, root: Path) -> str:
    """A README with its tables drawn anew.

    A table stands between `<!-- models: PATTERN -->` and `<!-- end -->` and holds the
    models whose config's file name matches the pattern.
    """

    def drawn(found: re.Match) -> str:
        chosen = [
            model
            for model in metafile['Models']
            if re.search(found[2], Path(model['Config']).stem)
        ]
        return f'{found[1]}{draw_table(chosen, root)}{found[3]}'

    return TABLE.sub(drawn, page)


def draw_table(models: list[dict], root: Path) -> str:
    """Models as a Markdown table; a column that no model fills is left out."""
    rows = [table_row(model, root) for model in models]
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    lines = [titles, ['---'] * len(titles)]
    lines += [[row[title] for title in titles] for row in rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def table_row(model: dict, root: Path) -> dict[str, str]:
    metadata, path = model['Metadata'], Path(model['Config'])
    metrics: dict[str, Any] = {}
    for result in model.get('Results') or []:
        metrics |= result['Metrics']
    folder = path.parts[1]  # configs/FOLDER/..., where the README lies
    return {
        'config': f'[`{path.stem}`]({path.relative_to(f"configs/{folder}")})',
        'extends': f'`{host}`' if (host := baseline(root / path)) else '',
        'parameters, M': f'{metadata["Parameters"] / 1e6:.2f}',
        'multiply-adds, G': f'{metadata["FLOPs"] / 1e9:.1f}',
        'published': ', '.join(f'{name} {value}' for name, value in metrics.items()),
    }


def baseline(config: Path) -> str:
    """The config of a host that this one extends, itself or through its only base."""
    text = config.read_text()
    if host := re.search(r"'(mm\w+::[^']+)'", text):
        return host[1]
    parent = re.search(r"^_base_ = '(.+)'$", text, re.MULTILINE)
    return baseline(config.parent / parent[1]) if parent else ''


def write_metafile(path: Path, metafile: dict) -> None:
    path.write_text(yaml.safe_dump(metafile, sort_keys=False, width=100))
