"""One page of results that carries its pictures inside: no scripts, no other files."""

import base64
import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np

from mmpatchconvnet.atomic_files import atomic_write

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """Column names, and rows of as many cells; numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Picture:
    """A picture file (.png, .jpg or .webp) and what it shows."""

    path: str | os.PathLike
    caption: str = ''


@dataclass(frozen=True)
class Section:
    """A heading with what belongs beneath it."""

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
    """Write a page of results with its pictures inside, whole or not at all.

    Args:
        path: The .html file to write.
        title: Its headline.
        intro: The paragraph beneath; empty lines part paragraphs, here and in sections.
        table: The results.
        sections: What follows, in order.

    Raises:
        FileNotFoundError: A picture is missing.
        ValueError: A row of the table has not as many cells as there are columns.
    """
    page = PAGE.format(
        title=escape(title),
        style=STYLE,
        intro=_paragraphs(intro),
        table=_table(table),
        sections='\n'.join(map(_section, sections)),
    )
    atomic_write(Path(path), page.encode())


def _paragraphs(text: str) -> str:
    parts = (part.strip() for part in text.split('\n\n'))
    return '\n'.join(f'<p>{escape(part)}</p>' for part in parts if part)


def _table(table: Table) -> str:
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(
                f'a row of {len(row)} cells starting with {row[0]!r} does not fit a '
                f'table of {len(table.columns)} columns: give one cell a column'
            )
    numeric = [
        any(isinstance(row[index], int | float) for row in table.rows)
        for index in range(len(table.columns))
    ]
    head = _table_row('th', table.columns, numeric)
    body = '\n'.join(_table_row('td', row, numeric) for row in table.rows)
    return f'<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def _table_row(tag: str, cells: Sequence[Cell], numeric: Sequence[bool]) -> str:
    return (
        '<tr>'
        + ''.join(
            f'<{tag}{" class=number" if right else ""}>{escape(_as_text(cell))}</{tag}>'
            for cell, right in zip(cells, numeric, strict=True)
        )
        + '</tr>'
    )


def _as_text(cell: Cell) -> str:
    return f'{cell:.3f}' if isinstance(cell, float) else str(cell)


def _section(section: Section) -> str:
    parts = [f'<h2>{escape(section.heading)}</h2>', _paragraphs(section.text)]
    if section.command:
        parts.append(f'<pre><code>{escape(section.command)}</code></pre>')
    parts += map(_figure, section.pictures)
    return '<section>\n' + '\n'.join(filter(None, parts)) + '\n</section>'


def _figure(picture: Picture) -> str:
    caption = escape(picture.caption)
    return (
        f'<figure><img src="{_data_url(Path(picture.path))}" alt="{caption}">'
        + (f'<figcaption>{caption}</figcaption>' if caption else '')
        + '</figure>'
    )


def _data_url(path: Path) -> str:
    """A picture as text, as WebP where that is smaller: photographs shrink tenfold."""
    data, kind = path.read_bytes(), mimetypes.guess_type(path.name)[0]
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f'{path} is not a readable picture: give a .png or .jpg file')
    _, webp = cv2.imencode('.webp', picture, [cv2.IMWRITE_WEBP_QUALITY, 90])
    if len(webp) < len(data):
        data, kind = webp.tobytes(), 'image/webp'
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
{intro}
</header>
{table}
{sections}
</main>
</body>
</html>
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfc; --ink: #22242a; --soft: #6a6e77; --line: #e2e3e6; --code: #f3f4f5;
  --accent: #1f7a5c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181b; --ink: #e6e7ea; --soft: #9a9ea8; --line: #33363c; --code: #212327;
    --accent: #6fcfa9;
  }
}
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
main { max-width: 70rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { margin: 0 0 .5rem; font-size: 2rem; line-height: 1.2; }
h2 { margin: 3.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .6rem 0; }
table {
  display: block; margin: 2rem 0; overflow-x: auto; border-collapse: collapse;
  font-variant-numeric: tabular-nums;
}
th, td { padding: .5rem 1.2rem .5rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-size: .9rem; font-weight: 600; text-align: left; }
td:first-child { font-weight: 600; }
.number { text-align: right; }
pre {
  padding: .8rem 1rem; white-space: pre-wrap; border-left: 3px solid var(--accent);
  background: var(--code); font-size: .9rem;
}
figure { margin: 1.5rem 0; }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 6px; }
figcaption { margin-top: .4rem; color: var(--soft); font-size: .9rem; }
"""
