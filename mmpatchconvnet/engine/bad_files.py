"""Name the files that cannot be read in a run, or go on without them.

Data workers write what they skip to a file in the work directory, which all of them
and all processes of a run share.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.registry import DATASETS
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.data_checks.picture_files import why_broken, why_unread

SKIPPED = 'skipped_files.txt'  # in the work directory
MAX_SKIPPED = 100  # in a row, before a run ends
REMEDY = (
    'copy it again, remove it from the data, or train with --skip-bad-files to go on '
    'without such files.'
)
REMEDY_IF_SCORED = 'copy it again or remove it from the data.'
SMALL, LONG = 32, 50  # pixels of a side, and a ratio of sides, that steps may not take
# Errors of the code or config, whatever the size of a picture.
OF_CODE = (KeyError, TypeError, AttributeError, NameError, ImportError, OSError)


class BadDataError(ValueError):
    """Data that cannot be read, in one sentence.

    A data worker passes an error on by its class and the text of its traceback, of
    which the last line is kept.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().rpartition('BadDataError: ')[2])


def guard_data(runner: Runner | FlexibleRunner, skip_bad_files: bool = False) -> None:
    """Let the data sets of a runner be built with a `GuardedPipeline`.

    The config stays as it is.

    Args:
        runner: Its data sets are not built yet.
        skip_bad_files: Whether it goes on without the files that cannot be read.
    """
    skipped = Path(runner.work_dir, SKIPPED) if skip_bad_files else None
    if skipped:
        _remove(skipped)
    for name in ('train', 'val', 'test'):
        loader = getattr(runner, f'_{name}_dataloader')
        if isinstance(loader, dict) and isinstance(loader.get('dataset'), dict):
            settings = dict(settings=loader['dataset'], skipped=skipped, name=name)
            dataset = dict(type=build_guarded, **settings)
            setattr(runner, f'_{name}_dataloader', dict(loader, dataset=dataset))


@master_only
def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def build_guarded(settings: dict, skipped: Path | None, name: str) -> Any:
    """Build a data set whose pipeline names the files that cannot be read.

    Args:
        settings: The data set in the config.
        skipped: Where the names of skipped files go; None raises instead.
        name: `train`, `val` or `test`.

    Raises:
        BadDataError: There is nothing in it.
    """
    empty = BadDataError(
        f'the data set of {name}_dataloader is empty once its filters have been '
        'applied: fix ann_file, data_prefix or filter_cfg, or add pictures.'
    )
    try:
        dataset = DATASETS.build(settings)
    except ValueError as error:
        if 'need at least one array' in str(error):  # of mmengine, to store them
            raise empty from None
        raise
    parts = list(without_wrappers(dataset))
    remedy = REMEDY
    if name == 'test' or (skipped and name == 'val'):
        remedy = REMEDY_IF_SCORED
    if skipped and name != 'train':
        for one in parts:
            leave_out_broken(one, skipped)
        count_again(dataset)
        skipped = None  # no other sample may take the place of one that is scored
    for one in parts:
        one.pipeline = GuardedPipeline(one.pipeline, skipped, remedy)
    if hasattr(dataset, '__len__') and not len(dataset):
        raise empty
    return dataset


def without_wrappers(dataset: Any) -> Iterator[Any]:
    """The data sets of mmengine within wrappers such as `ConcatDataset`."""
    inner = inner_of(dataset)
    for one in inner:
        yield from without_wrappers(one)
    if (
        not inner
        and hasattr(dataset, 'full_init')
        and hasattr(dataset.pipeline, 'transforms')
    ):
        dataset.full_init()
        yield dataset


def inner_of(dataset: Any) -> list:
    """The data sets of a wrapper, none of a data set itself."""
    inner = getattr(dataset, 'datasets', None)
    if inner is None:
        inner = getattr(dataset, 'dataset', [])
    return list(inner) if isinstance(inner, (list, tuple)) else [inner]


def leave_out_broken(dataset: Any, skipped: Path) -> None:
    """Leave out samples for testing whose files are missing or truncated.

    No other sample may take their place: each picture is scored once.
    """
    good = []
    for index in range(len(dataset)):
        fault = find_broken(dataset.get_data_info(index), dataset.pipeline.transforms)
        if fault:
            note(skipped, fault)
        else:
            good.append(index)
    if len(good) < len(dataset):
        dataset.get_subset_(good)


def count_again(dataset: Any) -> None:
    """Let wrappers such as `ConcatDataset` count the samples that are left."""
    inner = inner_of(dataset)
    for one in inner:
        count_again(one)
    if inner and hasattr(dataset, 'full_init'):
        dataset._fully_initialized = False
        dataset.full_init()


def files_of(data: dict, steps: list) -> list[str]:
    """The local files that steps read of a sample: its picture and label map."""
    if any(getattr(step, 'backend_args', None) for step in steps):
        return []
    has_map = any(getattr(step, 'with_seg', False) for step in steps)
    paths = [data.get('img_path'), data.get('seg_map_path') if has_map else None]
    return [one for one in paths if isinstance(one, str) and '://' not in one]


def find_broken(data: dict, steps: list) -> str | None:
    """The first file of a sample that is missing, empty or truncated, and why."""
    for path in files_of(data, steps):
        why = why_broken(path)
        if why:
            return f'{path} {why}'
    return None


def note(skipped: Path, fault: str) -> None:
    """Append a line on a file; short ones are not mixed with those of others."""
    with skipped.open('a') as file:
        file.write(f'{" ".join(fault.split())}\n')


class GuardedPipeline:
    """Runs the steps of a data set and names the file that one of them cannot read.

    Args:
        pipeline: The data set's own, mmengine's `Compose`.
        skipped: Where the names of skipped files go; None raises instead.
        remedy: What to do, with which the error ends.

    Raises:
        BadDataError: The file, the reason and what to do.
    """

    def __init__(
        self, pipeline: Any, skipped: Path | None = None, remedy: str = REMEDY
    ) -> None:
        self.pipeline, self.skipped, self.remedy = pipeline, skipped, remedy
        self.in_a_row = 0

    @property
    def transforms(self) -> list:
        """The steps."""
        return self.pipeline.transforms

    def __call__(self, data: dict) -> Any:
        """The sample, or None for another one in its place."""
        try:
            sample = self._run(data)
        except BadDataError as error:
            self.in_a_row += 1
            if self.skipped is None:
                raise
            if self.in_a_row > MAX_SKIPPED:
                raise BadDataError(
                    f'{MAX_SKIPPED} files in a row cannot be read, the last is {error}'
                ) from None
            note(self.skipped, str(error).removesuffix(f': {self.remedy}'))
            return None
        self.in_a_row = 0
        return sample

    def _run(self, data: dict) -> Any:
        fault = find_broken(data, self.transforms)
        if fault:
            raise BadDataError(f'{fault}: {self.remedy}')
        sample: Any = data
        for step in self.transforms:
            name = type(step).__name__
            try:
                sample = step(sample)
            except Exception as error:
                fault = None
                if 'img_path' in data:
                    fault = _tell(name, data, sample, error)
                if fault is None:
                    raise
                raise BadDataError(f'{fault}: {self.remedy}') from None
            if sample is None:
                return None
        return sample


def _tell(step: str, data: dict, sample: dict, error: Exception) -> str | None:
    """What a step could not read or is too small for it, and why; None otherwise."""
    path = data['img_path']
    if step.startswith('Load'):
        if 'Annotation' in step:
            label_map = data.get('seg_map_path')
            path = label_map or f'the annotations of {path}'
        return f'{path} {why_unread(error, path)}'
    sides = sample.get('ori_shape', (SMALL, SMALL))
    is_small = min(sides) < SMALL or max(sides) > LONG * min(sides)
    if not is_small or isinstance(error, OF_CODE):
        return None
    size = f'{sides[1]} x {sides[0]} pixels (width x height)'
    return f'{path} of {size} is too small for {step} ({first_line(error)})'


def first_line(error: Exception) -> str:
    """What an error says first, without its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def skipped_files(work_dir: str | Path) -> list[str]:
    """The files that were skipped in a run, and why, each once."""
    path = Path(work_dir, SKIPPED)
    return sorted({*path.read_text().splitlines()}) if path.is_file() else []


@master_only
def tell_skipped(runner: Runner | FlexibleRunner) -> None:
    """Say in the log how many files were skipped, and their names."""
    lines = skipped_files(runner.work_dir)
    if lines:
        # Workers have appended a file each time that they met it.
        Path(runner.work_dir, SKIPPED).write_text('\n'.join([*lines, '']))
        text = [f'files that could not be read and were skipped: {len(lines)}']
        text += lines[:20]
        if len(lines) > 20:
            text.append(f'... all are listed in {Path(runner.work_dir, SKIPPED)}')
        runner.logger.warning('\n  '.join(text))
