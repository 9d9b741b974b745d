"""Faults of one data set, grouped by kind and counted.

Each kind becomes one sentence: how many there are, where the first one is, what to do.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        things: What has it, in the plural: `annotations`, `pictures`.
        what: What is wrong with them: `without area`.
        remedy: What to do.
        stops: Whether training cannot be right.
        of_file: Whether a file cannot be read, which `--skip-bad-files` allows.
    """

    things: str
    what: str
    remedy: str
    stops: bool = True
    of_file: bool = False


@dataclass
class Group:
    """The faults of one kind: how many, and where the first one is."""

    count: int = 0
    first: str = ''


@dataclass
class Findings:
    """The faults of one data set.

    Attributes:
        title: The file or folder and its dataloader, with which a sentence begins.
        totals: How many `things` were looked at.
        groups: The faults by kind, in the order in which they were found.
        dropped: Objects that the host leaves out, by reason.
        files: The faults of each picture, as `what` of their kinds.
        severity: 2 for each picture that cannot be read, 1 for one with an error.
        errors: Other sentences on what makes training wrong.
        warnings: Other sentences.
    """

    title: str
    totals: Counter[str] = field(default_factory=Counter)
    groups: dict[Kind, Group] = field(default_factory=dict)
    dropped: dict[str, Group] = field(default_factory=dict)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    severity: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, kind: Kind, place: str, file: str | None = None) -> None:
        """Count one fault at a place, such as `annotation 4 of 'a.png'`."""
        _count(self.groups, kind, place)
        self._blame(file, kind.what, 2 if kind.of_file else int(kind.stops))

    def drop(self, reason: str, place: str, file: str | None = None) -> None:
        """Count one object that the host leaves out."""
        _count(self.dropped, reason, place)
        self._blame(file, reason, 0)

    def count(self, kind: Kind) -> int:
        """How many faults of a kind there are."""
        return self.groups[kind].count if kind in self.groups else 0

    def _blame(self, file: str | None, what: str, severity: int) -> None:
        if file is not None:
            self.files.setdefault(file, Counter())[what] += 1
            self.severity[file] = max(severity, self.severity[file])

    def sentences(self, stops: bool, skip_bad_files: bool = False) -> list[str]:
        """The errors (`stops`) or the warnings.

        Args:
            stops: Which of them.
            skip_bad_files: Whether files that cannot be read are only warnings.
        """
        told = [
            self.sentence(kind, group)
            for kind, group in self.groups.items()
            if (kind.stops and not (kind.of_file and skip_bad_files)) == stops
        ]
        return told + (self.errors if stops else self.warnings)

    def sentence(self, kind: Kind, group: Group) -> str:
        """One kind of fault in one sentence."""
        total = self.totals[kind.things]
        count = f'{group.count} of {total}' if total >= group.count else group.count
        return (
            f'{self.title}: {count} {kind.things} {kind.what} (first: {group.first}): '
            f'{kind.remedy}.'
        )

    def dropped_sentence(self, verb: str) -> str:
        """How many objects are left out, and why; `verb` says by whom."""
        count = sum(group.count for group in self.dropped.values())
        reasons = ', '.join(
            f'{group.count} {reason}' for reason, group in self.dropped.items()
        )
        first = next(iter(self.dropped.values())).first
        return (
            f'{self.title}: {count} of {self.totals["objects"]} objects {verb}: '
            f'{reasons} (first: {first})'
        )

    def worst_files(self, count: int = 10) -> list[tuple[str, Counter[str]]]:
        """The files with the most faults; those that cannot be read come first."""

        def rank(item: tuple[str, Counter[str]]) -> tuple[int, int]:
            return -self.severity[item[0]], -item[1].total()

        return sorted(self.files.items(), key=rank)[:count]


def _count(groups: dict, key: object, place: str) -> None:
    group = groups.setdefault(key, Group(first=place))
    group.count += 1
