"""The encoding of a text file, told from its bytes."""

from __future__ import annotations

from pathlib import Path

from ukulele.errors import PlanError


def encoding(path: Path) -> str:
    """The encoding of a text file: UTF-8 unless its bytes say otherwise without doubt.

    A byte order mark decides. A file none of whose non-ASCII lines is UTF-8 is Windows-1252; one where
    some are is UTF-8 with damaged lines.
    """
    with path.open("rb") as file:
        head = file.read(4096)
        if head.startswith(b"\xef\xbb\xbf"):
            return "utf-8-sig"
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "utf-16"
        zeros = head.count(0)
        if zeros > len(head) // 3:
            return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        file.seek(0)
        good = bad = 0
        while lines := file.readlines(1 << 20):
            block = b"".join(lines)
            if block.isascii():
                continue
            for line in lines:
                if not line.isascii():
                    fits = _fits(line, "utf-8")
                    good, bad = good + fits, bad + (not fits and _fits(line, "cp1252"))
            if good:
                return "utf-8"
    return "cp1252" if bad else "utf-8"


def _fits(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def lines_of(path: Path, option: str) -> list[str]:
    """The lines of a text file that an option names, in whatever encoding it is written.

    Raises
    ------
    PlanError
        If it cannot be read or decoded.
    """
    try:
        return path.read_text(encoding(path)).splitlines()
    except UnicodeDecodeError as error:
        raise PlanError(
            f"{option} {path}: the file cannot be decoded as {error.encoding} (byte {error.start:,}: {error.reason}).",
            hint="Save it as UTF-8, one entry a line.",
        ) from error
    except OSError as error:
        raise PlanError(
            f"{option} {path}: the file cannot be read ({error.strerror or error}).",
            hint="Name a text file with one entry a line that you may read.",
        ) from error
