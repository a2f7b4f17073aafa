"""A CSV's records, each with the line it begins on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.data.validation import Fault, ManifestError

_LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Record:
    """One record of a CSV: ``line`` is counted from 1, the header included; cells are stripped."""

    line: int
    cells: Mapping[str, str]


def read_table(path: Path, columns: Iterable[str], *, delimiter: str = ",") -> list[Record]:
    """The records, of the columns named.

    Raises:
        ManifestError: the file cannot be read, a column is not there, or a record has another width than the header.
    """
    name = path.name
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            faults = list(_header_faults(name, header, columns, delimiter))
            if faults:
                raise ManifestError(faults)
            records, line = [], reader.line_num + 1
            for cells in reader:
                if len(cells) == len(header):
                    records.append(Record(line, {key: cell.strip() for key, cell in zip(header, cells, strict=True)}))
                elif cells:  # an empty line is no record
                    message = (
                        f"{len(cells)} cells, but the header has {len(header)}: is a cell with {delimiter!r} quoted?"
                    )
                    faults.append(Fault(name, line, "", message))
                line = reader.line_num + 1
    except OSError as error:
        raise ManifestError([Fault(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ManifestError([Fault(name, None, "", f"not UTF-8 at byte {error.start}: save it as UTF-8")]) from error
    except csv.Error as error:
        raise ManifestError([Fault(name, reader.line_num, "", f"not a CSV: {error}")]) from error
    if faults:
        raise ManifestError(faults)
    if not records:
        raise ManifestError([Fault(name, None, "", "holds no row under its header")])
    return records


def _header_faults(name: str, header: list[str], columns: Iterable[str], delimiter: str) -> Iterable[Fault]:
    if not header:
        yield Fault(name, None, "", "is empty: the first line names the columns")
        return
    for column in dict.fromkeys(columns):
        if column not in header:
            hint = _other_delimiter(header, delimiter)
            yield Fault(name, 1, column, f"there is no such column; there are: {', '.join(header)}{hint}")
        elif header.count(column) > 1:
            yield Fault(name, 1, column, "two columns have this name")


def _other_delimiter(header: list[str], delimiter: str) -> str:
    if len(header) != 1:
        return ""
    for other, written in ((";", "';'"), ("\t", "$'\\t'"), (",", "','")):
        if other != delimiter and other in header[0]:
            return f" (one column only: try --delimiter {written})"
    return ""
