"""What a run leaves to ship: the bundle, with raw examples and the answers expected for them."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from torch import nn

from ukulele import tasks
from ukulele.models.bundle import GROUPS, Kept, write_bundle
from ukulele.tools.files import write_json
from ukulele.tools.pictures import open_picture
from ukulele.trial.certainty import Certainty
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.trial.predict import Predictor
from ukulele.types import Row

EXAMPLES = 4
TIMED = 64  # rows that show the throughput
PROMPT = 60  # letters of plain text
PICTURE = 256  # pixels, of an example's shorter side


def pack(
    folder: Path,
    parts: Mapping[str, Outcome],
    context: Context,
    record: Mapping[str, Any],
    sure: Mapping[int, Certainty],
) -> tuple[float, Callable[[], None]]:
    """How many rows a second are answered, and what then writes the bundle of the model that answers each task, or,
    where those are several, a bundle for each and groups.json beside them.
    """
    outcomes = list({id(one): one for one in parts.values()}.values())
    if len(outcomes) == 1:
        return _packed(folder, outcomes[0], context, record, sure[id(outcomes[0])].kept)
    names = [f"group-{number}" for number in range(1, len(outcomes) + 1)]
    found = [
        _packed(folder / name, outcome, context, record, sure[id(outcome)].kept)
        for name, outcome in zip(names, outcomes, strict=True)
    ]

    def write() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for _, each in found:
            each()
        groups = [{"folder": name, "tasks": list(one.tasks)} for name, one in zip(names, outcomes, strict=True)]
        write_json(folder / GROUPS, {"format": 1, "groups": groups})

    return 1 / sum(1 / rate for rate, _ in found), write


def _packed(
    folder: Path, chosen: Outcome, context: Context, record: Mapping[str, Any], kept: Kept
) -> tuple[float, Callable[[], None]]:
    card = chosen.model.card
    several, targets = len(context.tasks) > 1, [t for t in context.data.targets if t.name in chosen.tasks]
    about = {
        "modality": context.data.modality,
        "columns": list(context.data.columns),
        "tasks": {name: tasks.dump(task) for name, task in chosen.tasks.items()},  # type: ignore[arg-type]
        "asked": {t.name: {"column": t.column or t.name, "inputs": list(_inputs(t.name, context))} for t in targets},
        "private_stages": chosen.private,
        "trained_on": f"{context.data.name} ({', '.join(chosen.tasks)})",
        "licence": card.licence,
        "parents": [f"{card.origin} (source task: {card.source_task}; licence: {card.licence})", *card.parents],
        "test": {name: record["test"][name] for name in chosen.tasks} if several else record["test"],
        "precision": context.dtype,
    }
    heads = {name: head for name, head in chosen.heads.items() if isinstance(head, nn.Module)}
    rows = context.data.splits["test"] if len(context.data.splits["test"]) else context.data.splits["train"]
    inputs = [portable(_asked(rows[i], context)) for i in range(min(EXAMPLES, len(rows)))]
    predictor = Predictor(chosen.model, chosen.heads, chosen.tasks, about)
    golden = {"inputs": inputs, "answers": predictor.answer([raw(given) for given in inputs])}
    some = [_asked(rows[i], context) for i in range(min(TIMED, len(rows)))]
    quick = Predictor(chosen.model, chosen.heads, chosen.tasks, about, context.dtype, context.engine.device)
    quick.answer(some[:2])
    began = time.perf_counter()
    quick.answer(some)
    rate = len(some) / max(time.perf_counter() - began, 1e-9)
    return rate, partial(write_bundle, folder, chosen.model, heads, about, golden, kept)


def _asked(row: Row, context: Context) -> tuple[Any, ...]:
    """What is asked in an example: a row's inputs; of plain text, which has none, its begin."""
    free = [target.name for target in context.data.targets if target.free]
    return (str(row.targets[free[0]])[:PROMPT],) if free else row.inputs


def _inputs(task: str, context: Context) -> tuple[str, ...]:
    """The input columns of the source that a task came from."""
    joined = next((joined for joined in context.data.joined if task in joined.targets), None)
    return joined.columns if joined else context.data.columns


def portable(inputs: Sequence[Any]) -> list[Any]:
    """Raw inputs as JSON: texts as they are, a picture as a small PNG."""
    return [value if isinstance(value, str) else {"png": _png(value)} for value in inputs]


def raw(given: Sequence[Any]) -> tuple[Any, ...]:
    """The inverse of `portable`."""
    return tuple(value if isinstance(value, str) else base64.b64decode(value["png"]) for value in given)


def _png(source: Any) -> str:
    picture = open_picture(source, at_least=PICTURE)
    picture.thumbnail((PICTURE, PICTURE))
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
