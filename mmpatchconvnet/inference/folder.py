"""Predict all pictures of a source and write what was found to a folder."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmpatchconvnet.inference.outputs import OUTPUTS, Writer, printable
from mmpatchconvnet.inference.pictures import PictureError
from mmpatchconvnet.inference.predictor import Predictor
from mmpatchconvnet.inference.sources import open_source

T = TypeVar('T')
SECONDS_BETWEEN_LINES = 10  # where there is no terminal for a bar


def predict_folder(
    predictor: Predictor,
    source: Any,
    out: Path,
    console: Console,
    *,
    batch_size: int = 1,
    recursive: bool = False,
    scale: tuple[float, float] | None = None,
    draw: bool = True,
    overwrite: bool = False,
) -> int:
    """Predict pictures one after the other, and write each result at once.

    Args:
        predictor: The model.
        source: What `Predictor.__call__` takes.
        out: The folder for the results; see `inference.outputs`.
        console: Where progress and the pictures that cannot be read are shown.
        batch_size: Largest number of pictures that run together.
        recursive: Read the folders within a folder too.
        scale: Stored values that become black and white; see `read_picture`.
        draw: Draw every result over its picture.
        overwrite: Replace the results of an earlier run, from the first new one on;
            drawings and label maps of other pictures stay.

    Returns:
        How many pictures could not be read.

    Raises:
        ValueError: There is no such source, or no picture in it, or `out` holds
            results that may not be replaced.
    """
    if not overwrite:
        check_is_free(out)
    pictures = open_source(
        source, recursive, scale, skip=[out / name for name in OUTPUTS]
    )
    results = predictor.predict(pictures, batch_size)
    settings = predictor.kind, predictor.classes, predictor.palette
    return write_all(results, pictures.count, Writer(out, *settings, draw), console)


def write_all(
    results: Iterable[tuple[str, Any]], count: int | None, writer: Any, console: Console
) -> int:
    """Write results to the folder of a writer, and say at the end what was done.

    Args:
        results: Pairs of a name for a picture's files and its result, or a
            `PictureError`, which is shown.
        count: How many there are, if it is known.
        writer: A context manager with `add(result, name)` and a `folder`.
        console: Where progress is shown.

    Returns:
        How many pictures could not be read.
    """
    start, done, unread = time.monotonic(), 0, 0
    with writer:
        for name, result in show_progress(results, count, console):
            if isinstance(result, PictureError):
                unread += 1
                say(console, f'error: {result}', 'red')
            else:
                done += 1
                writer.add(result, name)
    say(console, summary(done, unread, time.monotonic() - start, writer.folder))
    return unread


def summary(done: int, unread: int, seconds: float, out: Path) -> str:
    """How many pictures were done, how fast, and where the results are, if any."""
    missing = f', {unread} could not be read' if unread else ''
    pictures = '1 picture' if done == 1 else f'{done} pictures'
    place = f': {out}' if out.exists() else ''
    return f'{pictures} done, {per_second(done / seconds)}{missing}{place}'


def per_second(rate: float) -> str:
    """A rate with about two digits, such as 0.03, 3.4 or 120."""
    digits = 0 if rate > 9.95 else 1 if rate > 0.995 else 2
    return f'{rate:.{digits}f} a second'


def check_is_free(out: Path, names: Sequence[str] = OUTPUTS) -> None:
    """Raise `ValueError` if a folder has one of the files that are to be written.

    Also if it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f'{out} is a file: give a folder for the results.')
    found = [name for name in names if (out / name).exists()]
    if found:
        raise ValueError(
            f'{out} already has {" and ".join(found)}: give another folder, or '
            '--overwrite to replace earlier results.'
        )


def say(console: Console, line: str, style: str = '') -> None:
    """Print a line as it is: file names may look like markup, or not be UTF-8."""
    console.print(Text(printable(line), style), soft_wrap=True)


def show_progress(
    items: Iterable[T], count: int | None, console: Console
) -> Iterator[T]:
    """The items, while a bar counts them, or a line now and then without a terminal."""
    if console.is_terminal:
        columns = (
            TextColumn('pictures'),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield from progress.track(items, total=count)
        return
    start = said = time.monotonic()
    total = '' if count is None else f' of {count}'
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > SECONDS_BETWEEN_LINES:
            said = now
            rate = number / (now - start)
            console.print(f'{number}{total} pictures, {per_second(rate)}')


class RateColumn(ProgressColumn):
    """Pictures a second."""

    def render(self, task: Task) -> Text:
        return Text(per_second(task.speed) if task.speed else '')
