"""Write where a model looks in all pictures of a source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpatchconvnet.attention.map import AttentionMap
from mmpatchconvnet.attention.outputs import OUTPUTS, UNTRAINED, Writer
from mmpatchconvnet.inference.folder import check_is_free, say, write_all
from mmpatchconvnet.inference.sources import open_source


def map_folder(
    maps: AttentionMap,
    source: Any,
    out: Path,
    console: Console,
    *,
    classes: Sequence[str] | None = None,
    recursive: bool = False,
    scale: tuple[float, float] | None = None,
    html: bool = False,
    overwrite: bool = False,
) -> int:
    """Write the maps of pictures one after the other, each at once.

    Args:
        maps: The model.
        source: What `inference.sources.open_source` takes.
        out: The folder for the results; see `attention.outputs`.
        console: Where progress and the pictures that cannot be read are shown.
        classes: With one token per class, those whose maps are drawn; by default those
            of the three highest scores.
        recursive: Read the folders within a folder too.
        scale: Stored values that become black and white; see `read_picture`.
        html: Write a page with all pictures too.
        overwrite: Replace the results of an earlier run, from the first new one on;
            sheets and maps of other pictures stay.

    Returns:
        How many pictures could not be read.

    Raises:
        ValueError: There is no such source, no picture in it or no such class, or `out`
            holds results that may not be replaced.
    """
    if not overwrite:
        check_is_free(out, OUTPUTS)
    pictures = open_source(
        source, recursive, scale, skip=[out / name for name in OUTPUTS]
    )
    results = maps.look(pictures, classes)
    if maps.is_untrained:
        say(console, f'note: {UNTRAINED}', 'yellow')
    writer = Writer(out, html, maps.is_untrained)
    return write_all(results, pictures.count, writer, console)
