"""What can go wrong, as one small tree. A message says where, what was found, what was expected, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ukulele.types import BadRow


class UkuleleError(Exception):
    """The root. `exit_code` is 2 where the user can mend it and 1 where we must."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class DataError(UkuleleError):
    """The data set cannot be used as it is."""


class BadRowsError(DataError):
    """Too many rows cannot be used: `bad` are all of them, and `listed` is the file in which they are."""

    def __init__(self, message: str, *, hint: str = "", bad: Sequence[BadRow] = (), listed: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.bad, self.listed = tuple(bad), listed


class ModelError(UkuleleError):
    """A model cannot be found, loaded or cut."""


class PlanError(UkuleleError):
    """A plan that cannot be carried out: all its faults at once."""


class RunError(UkuleleError):
    """A run folder or bundle that is missing, damaged, in use or from another version."""


class StorageError(UkuleleError):
    """The disk said no: full, read-only, or not there."""


class MissingExtraError(UkuleleError):
    """A library that only some users need is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs a library that is not installed.", hint=f"pip install 'ukulele[{extra}]'")


class InternalError(UkuleleError):
    """A promise of our own was broken."""

    exit_code = 1
