"""Read and append measured rows in a CSV file with a header."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Row = dict[str, str]


def read_rows(rows_file: Path) -> list[Row]:
    """All rows, each by column name; none if there is no file."""
    if not rows_file.is_file():
        return []
    with rows_file.open(newline='') as file:
        return list(csv.DictReader(file))


def select(rows: Iterable[Row], wanted: Sequence[str]) -> list[Row]:
    """The rows with all the wanted values, each given as `COLUMN=VALUE`.

    Raises:
        ValueError: There is no such column, or no such row.
    """
    pairs = [pair.partition('=')[::2] for pair in wanted]
    rows = list(rows)
    for column, _ in pairs:
        if any(column not in row for row in rows):
            raise ValueError(f'there is no column {column!r} in these rows.')
    found = [row for row in rows if all(row[name] == value for name, value in pairs)]
    if not found:
        raise ValueError(f'there is no row with {" ".join(wanted)}.')
    return found


def append_row(rows_file: Path, row: Row) -> None:
    """Append a row, and a header before the first one.

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


def measure_each(
    work_dirs: Iterable[Path], measure: Callable[[Path], list[Row]], rows_file: Path
) -> list[Row]:
    """Measure trained models one after the other; append their rows to a file.

    Args:
        work_dirs: The work dir of each training.
        measure: Gives the rows of one.
        rows_file: The CSV file; it keeps what was measured before an error.
    """
    measured = []
    for work_dir in work_dirs:
        rows = measure(work_dir)
        for row in rows:
            append_row(rows_file, row)
        measured += rows
        print(f'{work_dir}: {len(rows)} rows')
    return measured
