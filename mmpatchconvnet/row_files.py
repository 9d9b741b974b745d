"""Files of measured rows: CSV with a line of titles, to which rows are added."""

import csv
from pathlib import Path


def read_rows(rows_file: Path) -> list[dict[str, str]]:
    """All rows by the titles of their columns; none where there is no file."""
    if not rows_file.is_file():
        return []
    with rows_file.open(newline='') as file:
        return list(csv.DictReader(file))


def append_row(rows_file: Path, row: dict[str, str]) -> None:
    """Add a row, and a line of titles before the first.

    Raises:
        ValueError: The file has rows with other columns.
    """
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    with rows_file.open('a+', newline='') as file:
        file.seek(0)
        header = next(csv.reader(file), None)
        if header not in (None, list(row)):
            raise ValueError(
                f'{rows_file} has other columns than {", ".join(row)}: give another '
                'file to --rows.'
            )
        writer = csv.DictWriter(file, row, lineterminator='\n')
        if header is None:
            writer.writeheader()
        writer.writerow(row)
