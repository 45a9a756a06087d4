"""Tables that lie beside folders of pictures: read in their place, or passed over and said so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from ukulele.data.folders import Pictures
from ukulele.data.store import FORMATS
from ukulele.errors import DataError, UkuleleError
from ukulele.types import Finding

LOOKED_AT = 200  # rows of a table


def refuse_unsorted(path: Path, found: Pictures, tables: Sequence[Path]) -> None:
    """Refuse pictures whose folders are splits and tell no classes.

    Raises
    ------
    DataError
        Naming the folders, and the tables that may tell the classes.
    """
    if not found.unsorted:
        return
    lies = "lies" if len(found.unsorted) == 1 else "lie"
    first = found.unsorted[0]
    hint = f"Sort them into one folder a class in each split, such as {path / first / '<class>'}"
    if tables:
        hint += f", or name the table that lists them with their classes: {' or '.join(map(str, tables))}"
    raise DataError(
        f"{path}: pictures {lies} in {', '.join(found.unsorted)}, named as splits are, and in no folders of classes.",
        hint=f"{hint}.",
    )


def passed_over(path: Path, found: Pictures, tables: Sequence[Path]) -> Iterator[Finding]:
    """Tables that name the pictures of a folder, which was read without them."""
    files = {Path(file).name for file in found.frame.files}
    files |= {Path(file).name for file in found.stray}
    names = files | {Path(file).stem for file in files}
    for table in tables:
        cells = _naming(table, names)
        if not cells:
            continue
        yield Finding(
            "warning",
            "table-passed-over",
            f"{table} names the pictures of {path.name}, as {cells[0]!r}, and was not read: "
            f"the folders {', '.join(sorted(set(found.labels))[:5])} were taken for the classes.",
            {"table": str(table), "examples": cells[:5]},
            f"To use it, name it as DATA: {table}"
            if (table.parent / cells[0]).is_file()
            else f"To use it, write the pictures' paths from {table.parent} on into its cells, and name it as "
            f"DATA: {table}",
        )


def _naming(table: Path, names: set[str]) -> list[str]:
    """The cells of a table's first rows that name pictures, where a column of it does so throughout."""
    try:
        batch = next(iter(FORMATS[table.suffix.lower()](table).batches([])), None)
    except (UkuleleError, pa.ArrowException, OSError):  # it is no part of what was asked
        return []
    for column in batch.columns.values() if batch else ():
        cells = [cell for cell in islice((v.as_py() for v in column), LOOKED_AT) if isinstance(cell, str) and cell]
        own = list(dict.fromkeys(cell for cell in cells if cell.replace("\\", "/").rpartition("/")[2] in names))
        if len(own) > 1 and 2 * len(own) > len(cells):
            return own
    return []
