"""What a run that writes texts shows beside its figures: samples, counts, and how fast it was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ukulele import data, tasks
from ukulele.strategies.controls import UNTOUCHED
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.types import Rows, Writing, Written

SAMPLES = 12
SHOWN = 1200  # letters of a text in a sample
CHUNK = 1024  # rows whose tokens are counted at once
COPY = "copy"  # of the source, which is shown anyway
CONTINUED, PROMPT = 6, 160  # stretches of plain text that are continued, and letters of each that are given
DRAWN = Writing(temperature=0.8, top_p=0.9, tokens=80, seed=1)


def block(chosen: Outcome, shown: Sequence[Outcome], context: Context) -> dict[str, Any]:
    """Plain JSON: `kind`, `decoding`, `habits`, `signatures`, `counts` and `samples` of the test rows, `tokens`."""
    name, task = next(iter(chosen.tasks.items()))
    rows = context.data.splits["test"].take(context.truth("test").numbers(name).tolist())
    answers: list[Written] = task.decode(chosen.answers("test", name))  # type: ignore[assignment]
    references = chosen.feed.values("test", name)
    free = bool(getattr(task, "free", False))
    found: dict[str, Any] = {
        "kind": task.kind,
        "free": free,
        "decoding": asdict(task.decoding),
        "habits": dict(chosen.model.recipe.get("habits", {})),
        "signatures": tasks.signatures(task.kind, free),
        "tokens": _tokens(chosen),
    }
    if free:
        texts = [str(reference) for reference in references]
        return {**found, "drawn": asdict(DRAWN), "samples": _continued(rows, texts, name, chosen, shown)}
    chat = context.data.columns == (data.MESSAGES,)
    sources = [data.in_words(row.inputs[0]) if chat else str(row.inputs[0]) for row in rows]
    others = {
        one.candidate.name: task.decode(one.answers("test", name))
        for one in shown
        if one is not chosen and one.candidate.name != COPY
    }
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


def _continued(
    rows: Rows, texts: Sequence[str], name: str, chosen: Outcome, shown: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """How the begins of some stretches of the test text go on, in truth and by the models."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(CONTINUED, len(rows))).astype(np.int64)).tolist()
    asked = [_prompt(texts[at]) for at in places]
    writers = [chosen, *(one for one in shown if one is not chosen and hasattr(one.heads[name], "write"))]
    said: dict[str, list[str]] = {}
    for one in writers:
        head: Any = one.heads[name]
        ids = [row["ids"].tolist() for row in one.model.encode([(prompt,) for prompt in asked], [0] * len(asked))]
        said[one.candidate.name] = head.write(ids, DRAWN)
    ours = said.pop(chosen.candidate.name)
    before = said.pop(UNTOUCHED, None)
    return [
        {
            "where": str(rows[at].where),
            "source": prompt,
            "reference": texts[at][len(prompt) :][:SHOWN],
            "output": _short(ours[number]),
            "zero_shot": None if before is None else _short(before[number]),
            "others": {other: _short(found[number]) for other, found in said.items()},
        }
        for number, (at, prompt) in enumerate(zip(places, asked, strict=True))
    ]


def _prompt(text: str) -> str:
    """The begin of a text, up to a word's end."""
    return text[:PROMPT].rpartition(" ")[0] or text[:PROMPT]


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _tokens(outcome: Outcome) -> dict[str, Any] | None:
    """Tokens that all training rows teach, and how many of them were taught a second."""
    source, cut = outcome.feed, min(outcome.cut, len(outcome.model.stages))
    live = outcome.model.live(cut)
    name = next((name for name in ("labels", "taught") if name in live), None)
    if name is None:
        return None
    rows, field = source.source("train", cut), live[name]
    chunks = (range(at, min(at + CHUNK, len(rows))) for at in range(0, len(rows), CHUNK))
    batches = (rows.collated(list(chunk), {name: field}) for chunk in chunks)
    tokens = sum(int((batch[f"{field.axis}_mask"] if name == "labels" else batch[name]).sum()) for batch in batches)
    epochs, seconds = len(outcome.history), dict(outcome.cost.phases).get("train", 0.0)
    return {
        "train": tokens,
        "epochs": epochs,
        "seconds": seconds,
        "per_second": tokens * epochs / seconds if seconds and epochs else None,
    }
