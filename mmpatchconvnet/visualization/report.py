"""A page of results with embedded pictures: no scripts, no other files."""

import base64
import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined

from mmpatchconvnet.atomic_files import atomic_write

Cell = str | int | float
TEMPLATE = Path(__file__).with_name('report.html')


@dataclass(frozen=True)
class Table:
    """Column names, and rows of as many cells; numbers are right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A picture file (.png, .jpg or .webp) and what it shows."""

    path: str | os.PathLike
    caption: str = ''


@dataclass(frozen=True)
class Section:
    """A heading with its text, command line and pictures."""

    heading: str
    text: str = ''
    command: str = ''
    pictures: Sequence[Picture] = ()


def write_report(
    path: str | os.PathLike,
    title: str,
    intro: str,
    table: Table,
    sections: Sequence[Section],
) -> None:
    """Write a page of results with embedded pictures; it is complete or absent.

    Args:
        path: The .html file to write.
        title: Its headline.
        intro: The text below it; empty lines separate paragraphs, here and in sections.
        table: The results.
        sections: The sections after the table, in order.

    Raises:
        FileNotFoundError: A picture is missing.
        ValueError: A row has more or fewer cells than the table has columns; a picture
            cannot be read.
    """
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f'a row of {len(row)} cells starting with {row[0]!r} does not fit a '
                f'table of {len(table.columns)} columns: give one cell per column'
            )
    numeric = [
        index
        for index in range(len(table.columns))
        if any(isinstance(row[index], int | float) for row in table.rows)
    ]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters['data_url'] = _data_url
    page = environment.from_string(TEMPLATE.read_text()).render(
        title=title, intro=intro, table=table, numeric=numeric, sections=sections
    )
    atomic_write(Path(path), page.encode())


def _data_url(path: str | os.PathLike) -> str:
    """A picture as a data URL, as WebP if that is smaller (tenfold for photographs)."""
    path = Path(path)
    data, kind = path.read_bytes(), mimetypes.guess_type(path.name)[0]
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f'{path} is not a readable picture: give a .png or .jpg file')
    _, webp = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, 90])
    if len(webp) < len(data):
        data, kind = webp.tobytes(), 'image/webp'
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'
