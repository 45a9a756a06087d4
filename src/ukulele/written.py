"""What a run that writes texts shows beside its figures: samples, counts, and how fast it was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ukulele import tasks
from ukulele.attempt import Context, Outcome
from ukulele.types import Field, Written

SAMPLES = 12
SHOWN = 1200  # letters of a text in a sample
CHUNK = 1024  # rows whose tokens are counted at once
UNTOUCHED = "zero-shot"


def block(chosen: Outcome, shown: Sequence[Outcome], context: Context) -> dict[str, Any]:
    """Plain JSON: `kind`, `decoding`, `signatures`, `counts` and `samples` of the test rows, `tokens`."""
    name, task = next(iter(chosen.tasks.items()))
    rows = context.data.splits["test"].take(context.truth("test").numbers(name).tolist())
    answers: list[Written] = task.decode(chosen.answers("test", name))  # type: ignore[assignment]
    references = chosen.feed.values("test", name)
    free = bool(getattr(task, "free", False))
    found: dict[str, Any] = {
        "kind": task.kind,
        "free": free,
        "decoding": asdict(task.decoding),
        "signatures": tasks.signatures(task.kind, free),
        "tokens": _tokens(chosen),
    }
    if free:
        return found
    sources = [str(row.inputs[0]) for row in rows]
    others = {one.candidate.name: task.decode(one.answers("test", name)) for one in shown if one is not chosen}
    places = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(np.int64)).tolist()
    found["counts"] = tasks.counted(sources, answers, references)
    found["samples"] = [
        {
            "where": str(rows[at].where),
            "source": _short(sources[at]),
            "reference": _short(references[at]),
            "output": _short(answers[at].text),
            "zero_shot": _short(others[UNTOUCHED][at].text) if UNTOUCHED in others else None,
            "others": {other: _short(said[at].text) for other, said in others.items() if other != UNTOUCHED},
        }
        for at in places
    ]
    return found


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _tokens(outcome: Outcome) -> dict[str, Any] | None:
    """Tokens of the answers of all training rows, and how many of them were taught a second."""
    source, cut = outcome.feed, min(outcome.cut, len(outcome.model.stages))
    if "labels" not in outcome.model.live(cut):
        return None
    rows = source.source("train", cut)
    field = {"labels": Field("target")}
    chunks = (range(at, min(at + CHUNK, len(rows))) for at in range(0, len(rows), CHUNK))
    tokens = sum(int(rows.collated(list(chunk), field)["target_mask"].sum()) for chunk in chunks)
    epochs, seconds = len(outcome.history), dict(outcome.cost.phases).get("train", 0.0)
    return {
        "train": tokens,
        "epochs": epochs,
        "seconds": seconds,
        "per_second": tokens * epochs / seconds if seconds and epochs else None,
    }
