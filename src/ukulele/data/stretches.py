"""Documents held as UTF-8, and stretches of them as rows that are read when touched."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import DataError
from ukulele.tools.encodings import encoding
from ukulele.types import GoesOn, Row, Where

Spans = NDArray[np.int64]  # rows of document, first byte, byte behind the last, 1 where the document ends, line
COLUMN = "text"
LOOK = 1 << 20  # bytes that are looked through at a time
OPEN = 64  # files at a time
UTF8, MARKED, DAMAGED = "utf-8", "utf-8-sig", "damaged "  # encodings


class Documents(Protocol):
    """Texts by number, each as bytes of UTF-8 that are read when touched."""

    def __len__(self) -> int: ...
    def content(self, number: int) -> Any:
        """A document's bytes, an array."""
        ...

    def where(self, number: int, line: int) -> Where:
        """The place of a line of a document."""
        ...

    def column(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """What a column other than the text says of documents."""
        ...


def text_of(documents: Documents, number: int, begin: int, end: int) -> str:
    """Some bytes of a document as text."""
    found: bytes = documents.content(number)[begin:end].tobytes()
    return found.decode("utf-8", "replace")


@dataclass(frozen=True)
class Files:
    """Files of text, as UTF-8."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _held(self) -> Callable[[int], Any]:
        return lru_cache(OPEN)(self._read)

    def content(self, number: int) -> Any:
        """A file's bytes: mapped where they are UTF-8 already; of what is not, the signs for it count."""
        return self._held(number)

    def where(self, number: int, line: int) -> Where:
        """A line of a file."""
        return Where(self.names[number], line)

    def column(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """Refused: plain text has none."""
        del numbers
        raise DataError(f"{self.names[0]}: plain text has no column {name!r}.")

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
class Both:
    """Documents of two sources, those of the second numbered on."""

    first: Documents
    second: Documents

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def content(self, number: int) -> Any:
        """A document's bytes."""
        documents, at = self._of(number)
        return documents.content(at)

    def where(self, number: int, line: int) -> Where:
        """The place of a line."""
        documents, at = self._of(number)
        return documents.where(at, line)

    def column(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """What a column says of documents, where their source has it."""
        return [cell for one in numbers for cell in self._of(one)[0].column(name, [self._of(one)[1]])]

    def _of(self, number: int) -> tuple[Documents, int]:
        size = len(self.first)
        return (self.first, number) if number < size else (self.second, number - size)


@dataclass(frozen=True)
class TextRows:
    """Stretches of documents as rows: nothing is asked, the text itself is the answer. Read when touched."""

    documents: Documents
    spans: Spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> Row:
        number, begin, end, last, line = self.spans[range(len(self))[index]].tolist()
        text = text_of(self.documents, number, begin, end)
        return Row(("",), {COLUMN: text if last else GoesOn(text)}, self.documents.where(number, line))

    def __iter__(self) -> Iterator[Row]:
        return (self[at] for at in range(len(self)))

    @property
    def groups(self) -> None:
        """None: each is by itself."""
        return None

    clusters = groups

    def take(self, indices: Sequence[int]) -> TextRows:
        """The rows at `indices`, in that order."""
        return replace(self, spans=self.spans[np.asarray(indices, np.int64)])

    def column(self, name: str) -> list[Any]:
        """The text of every row, or what another column of a table says of its document.

        Raises
        ------
        DataError
            If there is no such column: plain text has none.
        """
        if name != COLUMN:
            return self.documents.column(name, self.spans[:, 0].tolist())
        return [row.targets[COLUMN] for row in self]


def whole_letters(content: Any, at: int) -> int:
    """The first place from `at` on where no letter is cut."""
    while at < len(content) and (int(content[at]) & 0xC0) == 0x80:
        at += 1
    return at
