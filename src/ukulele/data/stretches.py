"""Documents held as UTF-8, and stretches of them as rows that are read when touched."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.data.delimited import encoding
from ukulele.errors import DataError
from ukulele.types import GoesOn, Row, Where

Spans = NDArray[np.int64]  # rows of document, first byte, byte behind the last, 1 where the document ends, line
COLUMN = "text"
LOOK = 1 << 20  # bytes that are looked through at a time
OPEN = 64  # files at a time
UTF8, MARKED, DAMAGED = "utf-8", "utf-8-sig", "damaged "  # encodings


@dataclass(frozen=True)
class Files:
    """Files of text, as UTF-8."""

    names: tuple[str, ...]

    @cached_property
    def _held(self) -> Callable[[int], Any]:
        return lru_cache(OPEN)(self._read)

    def content(self, number: int) -> Any:
        """A file's bytes: mapped where they are UTF-8 already; of what is not, the signs for it count."""
        return self._held(number)

    def text(self, number: int, begin: int, end: int) -> str:
        """Some bytes of a file as text."""
        found: bytes = self.content(number)[begin:end].tobytes()
        return found.decode("utf-8", "replace")

    def _read(self, number: int) -> Any:
        path = Path(self.names[number])
        codec = self._codec(number)
        if codec == UTF8:
            return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        if codec == MARKED:
            return np.memmap(path, np.uint8, "r")[3:]
        return np.frombuffer(path.read_bytes().decode(codec.removeprefix(DAMAGED), "replace").encode(), np.uint8)

    @cached_property
    def _codecs(self) -> dict[int, str]:
        return {}

    def _codec(self, number: int) -> str:
        """The encoding of a file, `DAMAGED` before it where that is UTF-8 and some bytes are not; found once."""
        if number not in self._codecs:
            path = Path(self.names[number])
            codec = encoding(path)
            whole = codec not in {UTF8, MARKED} or _is_utf8(path)
            self._codecs[number] = codec if whole else DAMAGED + codec
        return self._codecs[number]


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder(UTF8)()
    try:
        with path.open("rb") as file:
            while block := file.read(LOOK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class TextRows:
    """Stretches of documents as rows: nothing is asked, the text itself is the answer. Read when touched."""

    files: Files
    spans: Spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Row:
        file, begin, end, last, line = self.spans[range(len(self))[index]].tolist()
        text = self.files.text(file, begin, end)
        return Row(("",), {COLUMN: text if last else GoesOn(text)}, Where(self.files.names[file], line))

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    @property
    def groups(self) -> None:
        """None: each is by itself."""
        return None

    def take(self, indices: Sequence[int]) -> TextRows:
        """The rows at `indices`, in that order."""
        return replace(self, spans=self.spans[np.asarray(indices, np.int64)])

    def column(self, name: str) -> list[Any]:
        """The text of every row.

        Raises
        ------
        DataError
            If another column is asked for: plain text has none.
        """
        if name != COLUMN:
            raise DataError(f"{self.files.names[0]}: plain text has no column {name!r}.")
        return [row.targets[COLUMN] for row in self]


def whole_letters(content: Any, at: int) -> int:
    """The first place from `at` on where no letter is cut."""
    while at < len(content) and (int(content[at]) & 0xC0) == 0x80:
        at += 1
    return at
