"""How sure answers may be: what calibrates prediction sets, and what rows of training look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ukulele import evaluate
from ukulele.models.bundle import Kept
from ukulele.tools.domain import Domain
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.trial.predict import Predictor

LEVEL = 0.95  # of the sets that the report tells of
KINDS = {"classify", "multilabel", "regress"}


@dataclass(frozen=True)
class Certainty:
    """Of one model: how strange the truth of calibration rows was, by task, and statistics of training rows."""

    strange: Mapping[str, list[float]] = field(default_factory=dict)
    domain: Domain | None = None

    @property
    def kept(self) -> Kept:
        """As a bundle keeps it."""
        plain: dict[str, Any] = {"strange": dict(self.strange)} if self.strange else {}
        if self.domain is None:
            return Kept(plain)
        arrays = {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in self.domain.arrays().items()}
        return Kept({**plain, "domain": self.domain.numbers()}, arrays)


def certain(chosen: Outcome, context: Context) -> Certainty:
    """What the bundle of a model needs to say how sure it is; nothing where rows are stretches of a plain text."""
    if any(getattr(task, "free", False) for task in chosen.tasks.values()):
        return Certainty()
    train, held = chosen.summaries("train"), chosen.summaries("validation")
    return Certainty(_strange(chosen, context), Domain.of(train, held) if len(train) > 1 and len(held) else None)


def _strange(chosen: Outcome, context: Context) -> dict[str, list[float]]:
    """How badly the answers fit the truth of the rows that were set apart, smallest first."""
    rows, found = context.data.apart, {name: list[float]() for name, task in chosen.tasks.items() if task.kind in KINDS}
    if rows is None:
        return {}
    predictor = Predictor(chosen.model, chosen.heads, chosen.tasks, {}, context.dtype, context.engine.device)
    for start in range(0, len(rows), predictor.window):
        some = list(rows.take(range(start, min(start + predictor.window, len(rows)))))
        raw = predictor.raw([row.inputs for row in some])
        for name in found:
            task = chosen.tasks[name]
            mine = [at for at, row in enumerate(some) if row.targets[name] is not None]
            final = task.decode([raw[name][at] for at in mine])
            found[name] += evaluate.strangeness(task, final, [some[at].targets[name] for at in mine]).tolist()
    return {name: sorted(map(float, strange)) for name, strange in found.items()}


def told(parts: Mapping[str, Outcome], sure: Mapping[int, Certainty]) -> dict[str, Any]:
    """What the record tells of it, on the test rows."""
    found, domains = [], {}
    for name, outcome in parts.items():
        one = sure[id(outcome)]
        if len(one.strange.get(name, ())) >= evaluate.LEAST:
            found.append({"task": name, **_sets(outcome, name, np.array(one.strange[name]))})
        if one.domain is not None and id(outcome) not in domains:
            outside = one.domain.outside(outcome.summaries("test"))
            domains[id(outcome)] = {
                "tasks": list(outcome.tasks),
                "rows": one.domain.rows,
                "held": one.domain.held,
                "test": {"n": len(outside), "outside": float(outside.mean())},
            }
    return {"sets": found, "domain": list(domains.values())}


def _sets(outcome: Outcome, name: str, calibration: Any) -> dict[str, Any]:
    task, values = outcome.tasks[name], outcome.feed.values("test", name)
    final = task.decode(outcome.answers("test", name))
    strange = evaluate.strangeness(task, final, values)
    sets = evaluate.sets(task, final, evaluate.reach(calibration, LEVEL))
    block = evaluate.coverage(strange, calibration, LEVEL, grouped=outcome.groups("test", name) is not None)
    match task.kind:
        case "classify":
            answered = [at for at, one in enumerate(sets) if not one["abstained"]]
            right = sum(sets[at]["set"] == [values[at]] for at in answered)
            block |= {
                "size": float(np.mean([len(one["set"]) for one in sets])),
                "abstained": 1 - len(answered) / len(sets),
                "right": right / len(answered) if answered else None,
            }
        case "multilabel":
            block |= {
                "size": float(np.mean([len(one["possible"]) for one in sets])),
                "abstained": float(np.mean([one["abstained"] for one in sets])),
            }
        case _:
            block |= {"size": float(sets[0]["high"] - sets[0]["low"])}
    return block
