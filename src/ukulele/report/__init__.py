"""A run's record as one self-contained HTML page. A pure function of the record; no torch, no network, no script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ukulele.report.comparison import compare
from ukulele.report.page import view
from ukulele.tools.files import write_atomic

__all__ = ["compare", "render", "write"]


def render(record: Mapping[str, Any]) -> str:
    """The report of a run: one HTML page that needs nothing beside it.

    Parameters
    ----------
    record
        A run's `record.json` as plain data (see docs/record.md). Blocks that are absent are left out.

    Raises
    ------
    RunError
        If the record lacks a block that every run has, or was written by a newer version.
    """
    return str(_template().render(view(record)))


def write(record: Mapping[str, Any], path: Path) -> None:
    """Render the report into a file that is whole or absent.

    Raises
    ------
    RunError
        If the record is not one this version can read.
    StorageError
        If the file cannot be written.
    """
    write_atomic(path, render(record))


@cache
def _template() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    here = resources.files(__name__)

    def read(name: str) -> str:
        return here.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    )
    environment.globals["style"] = Markup(read("page.css"))
    return environment.get_template("page.html")
