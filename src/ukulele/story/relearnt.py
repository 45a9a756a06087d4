"""A learning curve of a model that has no probe: trained anew on nested parts of the rows, scored on validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ukulele import strategies
from ukulele.events import Said
from ukulele.runs import RunFolder
from ukulele.story.candidates import model_name, survey, wishes_of
from ukulele.trial.attempt import attempt
from ukulele.trial.context import Context
from ukulele.trial.learning import Curve, curve_of, sizes_of
from ukulele.types import Candidate

POINTS = 5  # sizes, √2 apart: to a quarter of the rows
STRATEGY = "finetune"  # the frozen part of each subset is passed once


def relearn(context: Context) -> Curve:
    """Fine-tuning on nested subsets of the training rows, as `uke fit` would do it with so many.

    All of them are scored on the same validation rows, which also choose each one's best epoch.
    """
    (task,) = context.tasks.values()
    rows, order = context.data.splits["train"], np.random.default_rng(context.options.seed)
    drawn = order.permutation(len(rows))
    sizes, tables = sizes_of(len(rows))[-POINTS:], []
    for size in sizes:
        part = replace(context.data, splits={**context.data.splits, "train": rows.take(np.sort(drawn[:size]).tolist())})
        nowhere = RunFolder.nowhere()
        apart = replace(context, data=part, run=nowhere, truths={}, pristine={})
        name, facts = model_name(apart), survey(model_name(apart), apart)
        plan = strategies.make(STRATEGY, facts, wishes_of(apart.options, part))
        context.hear(Said(f"{size} rows: {strategies.in_words(plan, facts)}"))
        fitted = attempt(Candidate(STRATEGY, name, plan), apart)
        tables.append(fitted.table("validation", next(iter(context.tasks))))
        clusters = fitted.groups("validation", next(iter(context.tasks)))
    return curve_of(task.metrics[0], sizes, tables, len(rows), clusters)
