"""From whatever the user names to a Dataset, or to inputs without targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ukulele.data.conversations import conversations
from ukulele.data.document_table import read_table
from ukulele.data.documents import is_plain_text, read_documents
from ukulele.data.entries import is_several
from ukulele.data.infer import document_column
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape, TableRows
from ukulele.data.several import read_several
from ukulele.data.single import present, read_loaded, usable
from ukulele.data.sources import Loaded, load
from ukulele.types import BadRow, Dataset, Modality


def read(source: Any, options: ReadOptions, cache: Path) -> Dataset:
    """A labelled data set: read, checked, split.

    Parameters
    ----------
    source
        A CSV, TSV, JSONL or Parquet file, a folder of split files, plain text to be continued, a folder of pictures
        by class, a Hugging Face data set (saved folder or hub id), a DataFrame, or a list of (text, label) or dicts.
        Where texts are to be generated and no target is there, each row of a table is a document to be continued.
        A mapping of names to such sources, or a .yaml file that lists them, has a task for each name.
    options
        What is known already; the rest is inferred and said in `Dataset.notes`.
    cache
        A folder for the memory-mapped table and the verdicts on pictures, used again on the next run.

    Raises
    ------
    DataError
        If the source cannot be read, asks nothing that can be learned, or has too many bad rows.
    PlanError
        If plain text is to be read by options that only tables have a use for.
    """
    if is_several(source):
        return read_several(source, options, cache)
    if is_plain_text(source, options):
        return read_documents(source, options)
    loaded = load(source, cache)
    documents = None if loaded.pictures else document_column(loaded.frame, options)
    if documents is not None:
        return read_table(loaded, documents, options, cache)
    return conversations(read_loaded(loaded, options, cache).dataset)


def read_inputs(
    source: Any,
    columns: tuple[str, ...],
    modality: Modality,
    cache: Path | None = None,
) -> tuple[TableRows, tuple[BadRow, ...]]:
    """Unlabelled inputs of a known shape, in their order; bad ones are set aside.

    Parameters
    ----------
    source
        A table with `columns` (a table of one column needs no name), a DataFrame, a folder or file of
        pictures, or a list of texts, pairs, pictures, dicts or paths.
    columns, modality
        Those of the data set that the model was trained on.
    cache
        Where a table is kept memory-mapped; None holds it in memory.

    Raises
    ------
    DataError
        If the source cannot be read or lacks a column.
    """
    from ukulele.data.inputs import load_inputs

    return _inputs(load_inputs(source, columns, modality, cache), columns, modality, cache)


def read_lines(path: Path, column: str) -> tuple[TableRows, tuple[BadRow, ...]]:
    """The lines of a file as inputs without a header, a text each; empty ones are set aside.

    Raises
    ------
    DataError
        If no line holds text.
    """
    from ukulele.data.lines import load_lines

    return _inputs(load_lines(path, column), (column,), "text", None)


def _inputs(
    loaded: Loaded, columns: tuple[str, ...], modality: Modality, cache: Path | None
) -> tuple[TableRows, tuple[BadRow, ...]]:
    found = usable(loaded, Shape(present(loaded, columns), modality == "image"), cache, 1.0)
    return TableRows(loaded.frame, found.shape, found.good), found.bad
