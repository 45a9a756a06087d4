"""What a table asks, guessed from names and cells. Every guess becomes a note; options overrule all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ukulele.data.conversations import MESSAGES
from ukulele.data.frame import Frame, require
from ukulele.data.options import Asked, ReadOptions
from ukulele.data.plain import STRINGS
from ukulele.data.rows import FALSE, TRUE, Shape, column_of, labels_of, number
from ukulele.errors import DataError
from ukulele.tools.pictures import SUFFIXES
from ukulele.types import Kind, Modality, Target

TARGETS = (
    "label", "labels", "target", "targets", "class", "classes", "category", "sentiment", "intent", "emotion",
    "emotions", "similarity", "score", "rating", "stars", "topic", "tag", "tags", "section", "polarity",
    "toxicity", "genre", "species", "y",
)  # fmt: skip
OUTPUTS = {
    "translate": ("translation", "target", "tgt"),
    "summarise": ("summary", "highlights", "abstract", "target", "title"),
    "generate": ("completion", "response", "answer", "output", "target"),
}  # targets by name, where a text is to be written
PROMPTS = {"prompt", "instruction", "question", "query", "input"}
DOCUMENTS = ("text", "content", "document", "body", "article")
TEXTS = (
    "text", "sentence", "review", "content", "body", "message", "comment", "tweet", "utterance", "query",
    "question", "document", "article", "description", "headline", "title", "summary",
)  # fmt: skip
PAIRS = (
    ("sentence1", "sentence2"), ("text1", "text2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("query", "passage"), ("query", "document"),
    ("question", "sentence"), ("question", "answer"), ("s1", "s2"),
)  # fmt: skip
IMAGES = ("image", "img", "picture", "photo", "path", "file", "filename", "file_name", "image_path")
OBJECTS = "objects"  # the column of boxes
SAMPLE = 1000
FEW = 30  # distinct whole numbers up to which they are taken for classes


@dataclass(frozen=True)
class Guess:
    """What is read from which columns. `flags` are the 0/1 columns of a multilabel target."""

    modality: Modality
    inputs: tuple[str, ...]
    targets: tuple[Target, ...]  # labels still empty, but for 0/1 columns
    notes: tuple[str, ...]


def infer_boxes(names: tuple[str, ...], options: ReadOptions) -> Guess:
    """What pictures with boxes ask: `names` are the classes in the order of the data.

    Raises
    ------
    DataError
        If something else is asked for.
    """
    if options.task not in {None, "detect"}:
        raise DataError(f"--task {options.task}: pictures with boxes ask for detection.", hint="Leave --task out.")
    if len(options.asked) > 1 or options.target not in {(), (OBJECTS,)} or options.inputs:
        raise DataError("pictures with boxes have one target, the objects.", hint="Leave --target and --text out.")
    target = Target(OBJECTS, "detect", names)
    notes = (f"Task: detection, {len(names)} {'class' if len(names) == 1 else 'classes'}.",)
    return Guess("image", ("path",), (_named(target, options.asked[0]) if options.asked else target,), notes)


def infer(frame: Frame, options: ReadOptions, folder: bool) -> Guess:
    """Columns, modality and kind of task of a table (`folder`: of pictures).

    Raises
    ------
    DataError
        If a named column is missing, no target is found, or the target looks like an identifier.
    """
    columns = [column for one in options.asked for column in one.columns]
    if options.task == "detect":
        raise DataError("--task detect: no boxes were found.", hint="Expected VOC, COCO or YOLO; see the README.")
    for name in (*options.target, *columns, *options.inputs, options.group, options.time, options.split):
        if name is not None:
            require(frame, name)
    notes: list[str] = []
    named = {*options.target, *columns, *options.inputs}
    if options.task == "generate" and MESSAGES in frame.fields and named <= {MESSAGES}:
        told = "Task: conversations, by the column 'messages'; what the assistant says is learned."
        return Guess("text", (MESSAGES,), (Target(MESSAGES, "generate"),), (told,))
    if folder:
        notes.append("Input: pictures; the target is the folder each lies in.")
        return Guess("image", ("path",), (_of_folder(options),), tuple(notes))
    asked = _asked(frame, options, notes)
    wanted = [column for one in asked for column in one.columns]
    inputs = options.inputs or _inputs(frame, wanted, options)
    if len(inputs) > 2:
        raise DataError(f"{len(inputs)} input columns were given.", hint="Expected one, or two for pairs.")
    if overlap := set(inputs) & set(wanted):
        raise DataError(
            f"column {overlap.pop()!r} is both input and target.", hint="Name them with --text and --target."
        )
    pictures = [name for name in inputs if is_picture(frame, name)]
    if pictures and len(inputs) > 1:
        raise DataError(f"column {pictures[0]!r} holds pictures; pairs are of texts.", hint="Name one input column.")
    modality: Modality = "image" if pictures else "pair" if len(inputs) == 2 else "text"
    if not options.inputs:
        column = "column" if len(inputs) == 1 else "columns"
        notes.append(f"Input: {modality}, from {column} {' and '.join(map(repr, inputs))} (change it with --text).")
    targets = _targets(frame, asked, options, notes)
    return Guess(modality, tuple(inputs), targets, tuple(notes))


def document_column(frame: Frame, options: ReadOptions) -> str | None:
    """The column of documents that are to be continued, one a row; None where each row asks for an answer.

    That is the one that --text names, one with the name of documents, or the only one of texts: where no target is
    named, and no column is called as one.
    """
    wanted = options.task == "generate" and not options.target and not options.asked
    if not wanted or len(options.inputs) > 1 or not len(frame):
        return None
    if MESSAGES in frame.fields and set(options.inputs) <= {MESSAGES}:
        return None
    spare = _spare(frame, options)
    lower = {name.lower(): name for name in reversed(spare)}
    if any(name in lower for name in OUTPUTS["generate"]):
        return None
    if options.inputs:
        require(frame, options.inputs[0])
        return options.inputs[0]
    if PROMPTS & lower.keys():
        return None
    if named := [lower[name] for name in DOCUMENTS if name in lower]:
        return named[0]
    texts = [name for name in spare if frame.fields[name] == pa.string() and _length(frame, name) > 0]
    return texts[0] if len(texts) == 1 and not is_picture(frame, texts[0]) else None


def _of_folder(options: ReadOptions) -> Target:
    """The one target that a folder of pictures has."""
    if len(options.asked) > 1:
        names = ", ".join(one.name for one in options.asked)
        raise DataError(f"{names}: a folder of pictures holds one task, the class.", hint="Give them as a table.")
    return _named(Target("label", "classify"), options.asked[0]) if options.asked else Target("label", "classify")


def _named(target: Target, asked: Asked) -> Target:
    """A target under the name of a task."""
    column = column_of(target)
    return replace(target, name=asked.name, column="" if column == asked.name else column, weight=asked.weight)


def _asked(frame: Frame, options: ReadOptions, notes: list[str]) -> tuple[Asked, ...]:
    """The tasks with their columns: several 0/1 columns are one task, any others a task each."""
    if not options.asked:
        twice = next((name for name in options.target if options.target.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"--target {twice} was given twice.", hint="Name each target once.")
        wanted = options.target or _target(frame, options, notes)
        if len(wanted) > 1 and all(is_flag(frame, name) for name in wanted):
            return (Asked("labels", wanted),)
        return tuple(Asked(name, (name,)) for name in wanted)
    found: list[Asked] = []
    for one in options.asked:
        columns = one.columns or options.target or _target(frame, options, notes)
        if len(columns) > 1 and not all(is_flag(frame, name) for name in columns):
            raise DataError(
                f"{len(columns)} targets were given ({', '.join(columns)}); one is expected, or several 0/1 columns.",
                hint="List the others as tasks of their own, with the same data, in a file of tasks (.yaml).",
            )
        same = next((other for other in found if other.columns == tuple(columns)), None)
        if same is not None:
            raise DataError(
                f"{same.name!r} and {one.name!r} both ask for column {columns[0]!r}.",
                hint="Name the target of each in a file of tasks (.yaml).",
            )
        found.append(replace(one, columns=tuple(columns)))
    return tuple(found)


def refuse_other_cells(frame: Frame, shape: Shape) -> None:
    """Refuse columns whose cells can be no input or target of that shape."""
    for name in shape.inputs:
        kind = frame.fields.get(name, pa.string())
        if kind != pa.string() and not (shape.image and kind == pa.binary()):
            raise DataError(f"column {name!r} holds {_cells(kind)}, no texts.", hint="Name the input with --text.")
    for target in shape.targets:
        kind = frame.fields.get(column_of(target), pa.string())
        if kind == pa.binary() or (kind == STRINGS and target.kind != "multilabel"):
            raise DataError(
                f"column {column_of(target)!r} holds {_cells(kind)}.", hint="Name the target with --target."
            )


def _cells(kind: pa.DataType) -> str:
    return "bytes" if kind == pa.binary() else "lists"


def is_picture(frame: Frame, name: str) -> bool:
    """Whether a column holds pictures: bytes, or names of picture files."""
    if frame.fields[name] == pa.binary():
        return True
    cells = [cell for cell in sample(frame, name) if isinstance(cell, str) and cell.strip()]
    ends = sum(any(cell.lower().endswith(suffix) for suffix in SUFFIXES) and "\n" not in cell for cell in cells)
    return bool(cells) and ends >= 0.9 * len(cells)


def sample(frame: Frame, name: str) -> list[Any]:
    """Cells from all over a column."""
    rows = np.unique(np.linspace(0, len(frame) - 1, min(SAMPLE, len(frame))).astype(np.int64))
    return frame.take([name], rows)[0]


def kind_of(frame: Frame, name: str, *, may_be_said: bool = False) -> Kind:
    """Classes, several labels or a number, from the cells of a column; `may_be_said`: with --task.

    Raises
    ------
    DataError
        If nearly every row has another value that is no measurement: an identifier or free text.
    """
    if frame.fields[name] != pa.string():
        return "multilabel"
    counts = count(frame, name)
    values, total = list(counts), sum(counts.values())
    numbers = [number(value) for value in values]
    numeric = sum(n for n, x in zip(counts.values(), numbers, strict=True) if x is not None) >= 0.8 * max(total, 1)
    found = [x for x in numbers if x is not None]
    if numeric and any(not x.is_integer() for x in found) and len(found) > 10:
        return "regress"
    if not numeric and any(";" in value for value in values):
        parts = {label for value in values for label in labels_of([value]) or ()}
        if len(parts) <= max(0.5 * total, 10):
            return "multilabel"
    distinct = len(values) > 0.9 * total and total >= 10
    if distinct and (not numeric or _counter(found)):
        what = "an identifier" if numeric else "an identifier or free text"
        tasks = "regress" if numeric else "classify; translate, summarise or generate where the text is to be written"
        asked = f"If it is meant, say what is asked: --task {tasks}. Otherwise name"
        raise DataError(
            f"{frame.place}: column {name!r} looks like {what}: {len(values)} different values in {total} rows.",
            hint=f"{asked if may_be_said else 'Name'} the target with --target. "
            f"The columns are: {', '.join(frame.fields)}.",
        )
    return "regress" if numeric and len(found) > FEW and not _dense(found, total) else "classify"


def count(frame: Frame, name: str) -> dict[str, int]:
    """How often each cell of a string column occurs; empty ones left out, blanks at the ends dropped."""
    column = frame.chunked(name)
    counts: dict[str, int] = {}
    for entry in pc.value_counts(column).to_pylist():
        if entry["values"] is not None and (cell := str(entry["values"]).strip()):
            counts[cell] = counts.get(cell, 0) + entry["counts"]
    return counts


def is_flag(frame: Frame, name: str) -> bool:
    """Whether all cells are 0 or 1."""
    if frame.fields[name] != pa.string():
        return False
    if not all(cell is None or str(cell).strip().lower() in TRUE | FALSE | {""} for cell in sample(frame, name)[:50]):
        return False
    cells = {cell.lower() for cell in count(frame, name)}
    return bool(cells) and cells <= TRUE | FALSE


def _counter(found: Sequence[float]) -> bool:
    """Whether numbers merely count the rows."""
    whole = all(x.is_integer() for x in found)
    return whole and len(found) > 1 and max(found) - min(found) <= 1.2 * len(found)


def _dense(found: Sequence[float], total: int) -> bool:
    """Whether whole numbers are the codes of classes: 0 … K-1 or 1 … K, several rows each."""
    return min(found) in (0, 1) and max(found) - min(found) == len(found) - 1 and total >= 5 * len(found)


def _spare(frame: Frame, options: ReadOptions) -> list[str]:
    taken = {options.group, options.time, options.split or "split", *options.inputs}
    return [name for name in frame.fields if name not in taken]


def _target(frame: Frame, options: ReadOptions, notes: list[str]) -> tuple[str, ...]:
    spare = _spare(frame, options)
    lower = {name.lower(): name for name in reversed(spare)}
    known = next((lower[name] for name in OUTPUTS.get(options.task or "", TARGETS) if name in lower), None)
    if known is not None:
        notes.append(f"Target: column {known!r}, by its name (change it with --target).")
        return (known,)
    flags = [name for name in spare if is_flag(frame, name)]
    if len(flags) > 1:
        notes.append(f"Target: several labels, from the 0/1 columns {', '.join(flags)} (change it with --target).")
        return tuple(flags)
    inputs = set(options.inputs or _by_name(frame, spare))
    rest = [name for name in spare if name not in inputs and frame.fields[name] != pa.binary()]
    if not rest or len(spare) + len(options.inputs) < 2:
        raise DataError(
            "no target column found.", hint=f"Name it with --target. The columns are: {', '.join(frame.fields)}."
        )
    notes.append(f"Target: column {rest[-1]!r}, the last one (change it with --target).")
    return (rest[-1],)


def _inputs(frame: Frame, targets: Iterable[str], options: ReadOptions) -> tuple[str, ...]:
    spare = [name for name in _spare(frame, options) if name not in set(targets)]
    if named := _by_name(frame, spare):
        return named
    lengths = {name: _length(frame, name) for name in spare if frame.fields[name] == pa.string()}
    texts = {name: length for name, length in lengths.items() if length > 0}
    if not texts:
        raise DataError(
            "no column of texts or pictures found.",
            hint=f"Name it with --text. The columns are: {', '.join(frame.fields)}.",
        )
    return (max(texts, key=lambda name: texts[name]),)


def _by_name(frame: Frame, spare: Sequence[str]) -> tuple[str, ...]:
    """Input columns known by their names or, for pictures, by their cells."""
    pictures = [name for name in spare if frame.fields[name] == pa.binary()]
    pictures += [name for name in spare if name.lower() in IMAGES and is_picture(frame, name)]
    if pictures:
        return (pictures[0],)
    lower = {name.lower(): name for name in reversed(spare)}
    for first, second in PAIRS:
        if first in lower and second in lower:
            return lower[first], lower[second]
    found = [lower[name] for name in TEXTS if name in lower]
    if not found:
        found = [name for name in spare if frame.fields[name] == pa.string() and is_picture(frame, name)]
    return tuple(found[:1])


def _length(frame: Frame, name: str) -> float:
    """The mean length of the cells that are no numbers."""
    cells = [cell for cell in sample(frame, name) if isinstance(cell, str)]
    return sum(len(cell) for cell in cells if number(cell) is None) / max(len(cells), 1)


def _targets(frame: Frame, asked: Sequence[Asked], options: ReadOptions, notes: list[str]) -> tuple[Target, ...]:
    if options.task is not None and options.task not in get_args(Kind):
        raise DataError(f"there is no task {options.task!r}.", hint=f"Expected one of {', '.join(get_args(Kind))}.")
    if options.task is not None and len(asked) > 1:
        raise task_of_several(options.task, [one.name for one in asked])
    found = []
    for one in asked:
        task = f"Task {one.name!r}" if len(asked) > 1 else "Task"
        if len(one.columns) > 1:
            if options.task not in {None, "multilabel"}:
                raise task_of_several(options.task or "", one.columns)
            notes.append(f"{task}: several labels, one 0/1 column each: {', '.join(one.columns)}.")
            taken = ";".join(one.columns) if one.name in frame.fields else ""  # another column has the task's name
            found.append(Target(one.name, "multilabel", one.columns, taken, one.weight))
            continue
        (column,) = one.columns
        kind: Kind = options.task or kind_of(frame, column, may_be_said=len(asked) == 1 and not options.asked)  # type: ignore[assignment]
        if options.task is None:
            said = {"classify": "one class a row", "multilabel": "several labels a row", "regress": "a number"}[kind]
            change = "" if len(asked) > 1 or options.asked else " (change it with --task)"
            notes.append(f"{task}: {said}, from the cells of {column!r}{change}.")
        found.append(_named(Target(column, kind), one))
    return tuple(found)


def task_of_several(task: str, names: Sequence[str]) -> DataError:
    """--task, which is for one target, was given with several."""
    return DataError(
        f"--task {task} is for one target; there are {len(names)}: {', '.join(names)}.",
        hint="Leave --task out: the kind of each is inferred from its cells.",
    )
