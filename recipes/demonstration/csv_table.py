"""CSV file -> records, with faults named by file, row and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.validation import Fault, ManifestError


@dataclass(frozen=True)
class Record:
    """One record: ``number`` is 1-based and does not count the header."""

    file: str
    number: int
    fields: dict[str, str]

    def text(self, column: str) -> str:
        """The field as it stands."""
        return self.fields[column]

    def integer(self, column: str) -> int:
        """The field as an integer.

        Raises:
            ManifestError: it is none.
        """
        try:
            return int(self.fields[column])
        except ValueError:
            raise self.fault(column, "not an integer") from None

    def number_in(self, column: str, low: float = -math.inf) -> float:
        """The field as a finite number of at least ``low``.

        Raises:
            ManifestError: it is none.
        """
        try:
            value = float(self.fields[column])
        except ValueError:
            raise self.fault(column, "not a number") from None
        if not math.isfinite(value) or value < low:
            raise self.fault(column, f"not a finite number of at least {low:g}")
        return value

    def one_of(self, column: str, choices: Sequence[str]) -> str:
        """The field, which must be one of ``choices``.

        Raises:
            ManifestError: it is not.
        """
        value = self.fields[column]
        if value not in choices:
            raise self.fault(column, f"must be one of {', '.join(choices)}")
        return value

    def fault(self, column: str, message: str) -> ManifestError:
        """The error that names this record and column."""
        return ManifestError([Fault(self.file, self.number, column, message)])


def read_records(data_dir: Path, file: str, columns: Sequence[str]) -> list[Record]:
    """The records of ``data_dir / file``, at least one.

    Args:
        data_dir: where the development data lie.
        file: path under it.
        columns: what must be there; other columns are kept too.

    Raises:
        ManifestError: the file or a column is missing, there is no record, or one has too few or too many fields.
    """
    path = data_dir / file
    if not path.is_file():
        raise ManifestError([Fault(file, None, "", "no such file in the data directory")])
    records = list(_records(path, file, columns))
    if not records:
        raise ManifestError([Fault(file, None, "", "holds no record")])
    return records


def _records(path: Path, file: str, columns: Sequence[str]) -> Iterator[Record]:
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle, restkey="", restval=None)
        missing = [c for c in columns if c not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError([Fault(file, None, c, "no such column") for c in missing])
        for number, fields in enumerate(reader, start=1):
            if "" in fields or None in fields.values():
                raise ManifestError([Fault(file, number, "", "another number of fields than the header")])
            yield Record(file, number, fields)
