"""What a run leaves to ship: the bundle, with raw examples and the answers expected for them."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from torch import nn

from ukulele import tasks
from ukulele.attempt import Context, Outcome
from ukulele.models.bundle import write_bundle
from ukulele.predict import Predictor
from ukulele.tools.pictures import open_picture

EXAMPLES = 4
TIMED = 64  # rows that show the throughput
PICTURE = 256  # pixels, of an example's shorter side


def pack(folder: Path, chosen: Outcome, context: Context, record: Mapping[str, Any]) -> float:
    """Write the chosen model's bundle; how many rows a second it answers."""
    card = chosen.model.card
    about = {
        "modality": context.data.modality,
        "columns": list(context.data.columns),
        "tasks": {name: tasks.dump(task) for name, task in chosen.tasks.items()},  # type: ignore[arg-type]
        "trained_on": f"{context.data.name} ({', '.join(chosen.tasks)})",
        "licence": card.licence,
        "parents": [f"{card.origin} (source task: {card.source_task}; licence: {card.licence})", *card.parents],
        "test": record["test"],
        "precision": context.dtype,
    }
    heads = {name: head for name, head in chosen.heads.items() if isinstance(head, nn.Module)}
    rows = context.data.splits["test"] if len(context.data.splits["test"]) else context.data.splits["train"]
    inputs = [portable(rows[i].inputs) for i in range(min(EXAMPLES, len(rows)))]
    predictor = Predictor(chosen.model, chosen.heads, chosen.tasks, about)
    golden = {"inputs": inputs, "answers": predictor.answer([raw(given) for given in inputs])}
    write_bundle(folder, chosen.model, heads, about, golden)
    some = [rows[i].inputs for i in range(min(TIMED, len(rows)))]
    quick = Predictor(chosen.model, chosen.heads, chosen.tasks, about, context.dtype, context.engine.device)
    quick.answer(some[:2])
    began = time.perf_counter()
    quick.answer(some)
    return len(some) / max(time.perf_counter() - began, 1e-9)


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
