"""Which of mmcv's ops the models of the hosts' own configs call.

Each model is built, without random weights and without a download, and the code of its
classes is read (`compat/op_calls.py`). No step is run.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import torch
import torch.distributed as dist
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmpatchconvnet.compat import ops
from mmpatchconvnet.compat.op_calls import PARTS, kinds_in, ops_called
from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.experiments.rows import Row, append_row, read_rows
from mmpatchconvnet.experiments.tables import markdown

RANDOM = {
    getattr(Tensor, name)
    for name in ('normal_', 'uniform_', 'trunc_normal_', 'bernoulli_', 'erfinv_')
    if hasattr(Tensor, name)
}

INIT = nn.init.__name__  # whose functions are called before those of a tensor
GPU = 'On a GPU: '  # begins the remark on speed in the docstring of an op's file


class NoRandomWeights(TorchFunctionMode):
    """Leaves new weights as they are, which costs neither time nor memory."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in RANDOM or getattr(function, '__module__', '') == INIT:
            return args[0] if args else kwargs['tensor']
        return function(*args, **kwargs)


def configs_of(host: str) -> dict[str, list[Path]]:
    """Folder -> its configs, without those that are only inherited from."""
    spec = find_spec(host)
    if spec is None or spec.origin is None:
        raise ValueError(f'{host} is not installed: install it, or leave it out.')
    root = Path(spec.origin).parent / '.mim' / 'configs'
    folders: dict[str, list[Path]] = {}
    for path in sorted(root.rglob('*.py')):
        folder = path.relative_to(root).parts[0]
        if not folder.startswith('_'):
            folders.setdefault(folder, []).append(path)
    return folders


def measure(hosts: Sequence[str], rows_file: Path) -> None:
    """Append a row for each group of equal configs of a folder.

    Folders with rows in the file are left out, so an interrupted run can be repeated.

    Raises:
        ValueError: A host is not installed, or the file has other columns.
    """
    folders = {host: configs_of(host) for host in hosts}
    done = {(row['host'], row['folder']) for row in read_rows(rows_file)}
    if not dist.is_initialized():  # mmcv's SyncBatchNorm is built in a group only
        dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    for host in hosts:
        import_module(f'{host}.utils').register_all_modules(init_default_scope=False)
        for folder, configs in folders[host].items():
            if (host, folder) not in done:
                for row in measure_folder(host, folder, configs):
                    append_row(rows_file, row)
                print(f'{host} {folder}: {len(configs)} configs', flush=True)


def measure_folder(host: str, folder: str, configs: Sequence[Path]) -> Iterator[Row]:
    """A row for each group of configs whose models call the same ops."""
    groups: Counter[tuple[str, str, str]] = Counter()
    models: dict[str, tuple[str, str, str]] = {}  # many configs differ elsewhere
    for path in configs:
        try:
            cfg = read_config(str(path))
            if 'model' not in cfg:
                continue
            text = repr(cfg.model)
            if text not in models:
                models[text] = ops_of(cfg.model, cfg.get('default_scope') or host)
            groups[models[text]] += 1
        except Exception as error:  # of any kind: it is a result
            groups['', '', fault(error)] += 1
    for (on_cpu, on_gpu, reason), count in sorted(groups.items()):
        yield dict(
            host=host,
            folder=folder,
            configs=str(count),
            ops_on_cpu=on_cpu,
            ops_on_gpu=on_gpu,
            fault=reason,
        )


def fault(error: Exception) -> str:
    """The kind of an error and the start of its first line, without our own path."""
    line = f'{type(error).__name__}: {error}'.splitlines()[0]
    packages = Path(torch.__file__).parents[1]
    return line.replace(f'{packages}/', '').replace('`', "'")[:90]


def ops_of(model: dict, scope: str) -> tuple[str, str, str]:
    """Names of the ops that a model calls on a CPU and on a GPU, and '' or a fault."""
    with (
        DefaultScope.overwrite_default_scope(scope),
        parts_built() as kinds,
        NoRandomWeights(),
        no_downloads(),
        torch.no_grad(),
    ):
        kinds |= kinds_in(MODELS.build(model))
    on_cpu, on_gpu = (
        {family(name) for kind in kinds for name in ops_called(kind, where)}
        for where in (False, True)
    )
    return ' '.join(sorted(on_cpu)), ' '.join(sorted(on_gpu)), ''


@contextmanager
def parts_built() -> Iterator[set[type]]:
    """Collect the classes of all parts of models that are built, and check none."""
    kinds: set[type] = set()
    checked = Registry.build
    build: Callable = getattr(checked, '__wrapped__', checked)

    def build_and_collect(self: Registry, *args: Any, **kwargs: Any) -> Any:
        built = build(self, *args, **kwargs)
        if self.name in PARTS:
            kinds.add(type(built))
        return built

    Registry.build = build_and_collect
    try:
        yield kinds
    finally:
        Registry.build = checked


@contextmanager
def no_downloads() -> Iterator[None]:
    """Language models of their default size, and tokenizers that know no word."""
    if find_spec('transformers') is None:
        yield
        return
    transformers = import_module('transformers')

    def default_config(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return cls()

    def new_model(cls: Any, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        return cls(config or cls.config_class())

    with (
        patch.object(transformers.AutoTokenizer, 'from_pretrained', Mock()),
        patch.object(
            transformers.PretrainedConfig,
            'from_pretrained',
            classmethod(default_config),
        ),
        patch.object(
            transformers.PreTrainedModel, 'from_pretrained', classmethod(new_model)
        ),
    ):
        yield


def family(name: str) -> str:
    """An op, without the step of it that a function of mmcv's extension is.

    Example:
        >>> family('deform_conv_backward_input')
        'deform_conv'
    """
    return re.sub('_(forward|backward).*', '', name)


def draw_stock(rows: Sequence[Row], what: str) -> str:
    """One of the tables of docs/ops.md, in Markdown.

    Args:
        rows: Of `measure`.
        what: `hosts`: configs whose ops all are provided; `ops`: the provided ops and
            those that configs call; `missing`: configs that call a missing op;
            `faults`: configs that were not built; `others`: the names of all other ops.

    Raises:
        ValueError: There is no such table.
    """
    draw = {
        'hosts': draw_hosts,
        'ops': draw_ops,
        'missing': draw_missing,
        'faults': draw_faults,
        'others': draw_others,
    }
    if what not in draw:
        raise ValueError(f'there is no table {what!r}: choose from {", ".join(draw)}.')
    return draw[what](rows)


def draw_hosts(rows: Sequence[Row]) -> str:
    def count(rows: Sequence[Row]) -> str:
        return str(sum(int(row['configs']) for row in rows))

    lines = []
    hosts = list(dict.fromkeys(row['host'] for row in rows))
    for host in [*hosts, 'sum']:
        of_host = [row for row in rows if host in (row['host'], 'sum')]
        built = [row for row in of_host if not row['fault']]
        lines.append((host, count(of_host), count(built), *(
            count([row for row in built if not missing_in(row[device])])
            for device in ('ops_on_cpu', 'ops_on_gpu')
        )))  # fmt: skip
    titles = ('host', 'with a model', 'built', 'all ops on a CPU', 'all ops on a GPU')
    return markdown(titles, lines)


def draw_ops(rows: Sequence[Row]) -> str:
    calls: Counter[str] = Counter()
    for row in rows:
        for op in row['ops_on_gpu'].split():
            calls[op] += int(row['configs'])
    files = {family(name): getattr(ops, name).__module__ for name in ops.__all__}
    files = {op: name for op, name in files.items() if name != ops.__name__}
    lines = []
    for op in sorted(set(all_ops()) & {*files, *calls}):
        place = how = on_gpu = ''
        if op in files:
            paragraphs = str(import_module(files[op]).__doc__).split('\n\n')
            place = f'`{files[op].rpartition(".")[2]}.py`'
            how = ' '.join(paragraphs[0].split())
            on_gpu = ' '.join(
                ' '.join(p.split()) for p in paragraphs if p.startswith(GPU)
            )
        count = str(calls[op] or '')
        lines.append((f'`{op}`', place, how or 'an error', on_gpu[len(GPU) :], count))
    return markdown(('op', 'file', 'how', 'on a GPU', 'stock configs'), lines)


def draw_missing(rows: Sequence[Row]) -> str:
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        on_cpu, on_gpu = (missing_in(row[f'ops_on_{name}']) for name in ('cpu', 'gpu'))
        if on_gpu:
            names = ', '.join(f'`{op}`' for op in on_gpu)
            where = 'CPU and GPU' if on_cpu == on_gpu else 'GPU'
            counts[f'{row["host"]}::{row["folder"]}', names, where] += int(
                row['configs']
            )
    lines = [(*key, str(count)) for key, count in counts.items()]
    return markdown(('folder', 'missing', 'on', 'configs'), lines)


def draw_faults(rows: Sequence[Row]) -> str:
    faults: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row['fault']:
            faults[row['host'], row['fault']] += int(row['configs'])
    lines = [
        (host, f'`{fault}`', str(count))
        for (host, fault), count in faults.most_common()
    ]
    return markdown(('host', 'error', 'configs'), lines)


def draw_others(rows: Sequence[Row]) -> str:
    called = {op for row in rows for op in row['ops_on_gpu'].split()}
    provided = {family(name) for name in ops.__all__}
    others = sorted(set(all_ops()) - called - provided)
    return ', '.join(f'`{op}`' for op in others) + '\n'


def missing_in(names: str) -> list[str]:
    """The ops of which a function is missing."""
    functions = all_ops()
    return [op for op in names.split() if not functions[op] <= {*ops.__all__}]


@cache
def all_ops() -> dict[str, set[str]]:
    """Op -> the functions of `mmcv._ext` that `mmcv.ops` imports for it."""
    spec = find_spec('mmcv')
    assert spec is not None and spec.origin is not None
    found: dict[str, set[str]] = {}
    for path in (Path(spec.origin).parent / 'ops').glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                'load_ext'
            ):
                for name in ast.literal_eval(node.args[1]):
                    found.setdefault(family(name), set()).add(name)
    return found
