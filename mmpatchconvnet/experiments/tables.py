"""Tables in Markdown pages that are generated from data."""

import re
from collections.abc import Callable, Sequence


def fill_tables(page: str, kind: str, draw: Callable[[str], str]) -> str:
    """A page whose tables of one kind are generated again.

    A table is between `<!-- KIND: PATTERN -->` and `<!-- end -->`.

    Args:
        page: The text of a Markdown file.
        kind: What the tables hold, such as `models`.
        draw: Returns the table of a pattern.
    """
    table = re.compile(rf'(<!-- {kind}: (.+?) -->\n).*?(<!-- end -->)', re.DOTALL)
    return table.sub(lambda found: f'{found[1]}{draw(found[2])}{found[3]}', page)


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without empty columns; '' if there are no rows."""
    if not rows:
        return ''
    kept = [i for i in range(len(titles)) if any(row[i] for row in rows)]
    lines = [titles, ['---'] * len(titles), *rows]
    return ''.join(f'| {" | ".join(line[i] for i in kept)} |\n' for line in lines)
