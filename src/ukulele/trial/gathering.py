"""Which features of all stages a probe should stand on: those that a probe on all of them leans on most.

Head2Toe (Evci et al., 2022, arXiv:2201.03529) ranks features by a group-regularised fit; here they are ranked by the
norm of their weights, over the classes, in the penalised fit that the probe is anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ukulele import features
from ukulele.errors import PlanError
from ukulele.events import Said
from ukulele.loop.feed import Feed
from ukulele.loop.probing import pick, probe_search, probe_targets
from ukulele.tools.probe import LOGISTIC_STRENGTHS, RIDGE_STRENGTHS, Score, fit_logistic, fit_ridge, stratified_folds
from ukulele.trial.context import Context
from ukulele.types import Candidate

ROWS, FOLDS = 2000, 3  # as where one stage is chosen
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)  # of the features that are tried


def gathers(context: Context) -> bool:
    """Whether features of all stages are there to be gathered: for one task, where every stage's summary is stored."""
    return len(context.tasks) == 1 and context.taps


def gather(candidate: Candidate, context: Context) -> Candidate:
    """The candidate with the columns of the stages' summaries that it is to stand on.

    Raises
    ------
    PlanError
        If the stages' summaries are not stored, or there are several tasks.
    """
    if context.boxes or context.writes:
        raise PlanError(
            "--strategy stages: a probe on all stages answers with labels or numbers, not with boxes or texts.",
            hint="Choose --strategy finetune.",
        )
    if not gathers(context):
        raise PlanError(
            "--strategy stages: for one task, at most 20,000 training rows and --layer auto.",
            hint="Choose --strategy probe.",
        )
    found = context.decide("stages", lambda: _chosen(candidate, context))
    context.run.manifest["gather"] = {name: found[name] for name in ("share", "scores", "counts")}
    said = ", ".join(f"{count} of {stage}" for stage, count in found["counts"].items())
    context.hear(Said(f"{candidate.name}: {100 * found['share']:.0f} % of all stages' features: {said}"))
    return replace(candidate, gather=tuple((stage, tuple(columns)) for stage, columns in found["columns"]))


@dataclass(frozen=True)
class _Rows:
    """Features of all stages beside each other, targets, and how probes on them are fitted."""

    x: Tensor
    y: Tensor
    weights: Tensor | None
    classes: int | None
    search: Any

    def fit(self, train: Tensor, held: Tensor, columns: Tensor | None = None) -> tuple[Tensor, Score]:
        """A probe on some rows and columns: the importance of each column, and its score on the held-out rows."""
        x = self.x if columns is None else self.x[:, columns]
        weights = None if self.weights is None else self.weights[train]
        validation = (x[held], self.y[held])
        if self.classes is None:
            probe = fit_ridge(x[train], self.y[train], weights=weights, validation=validation, search=self.search)
        else:
            probe = fit_logistic(
                x[train], self.y[train], self.classes, weights=weights, validation=validation, search=self.search
            )
        weight = torch.as_tensor(probe.weight).reshape(-1, x.shape[1])
        spread = x[train].float().std(0, correction=0)
        best = next(score for score in probe.scores if score.strength == probe.strength)
        return (weight * spread).norm(dim=0), best


def _chosen(candidate: Candidate, context: Context) -> dict[str, Any]:
    """The share of the features that does best on held-out training rows, and which they are."""
    model, _ = context.load(candidate)
    feed = Feed(
        model, {}, candidate.plan, context.tables(context.tasks), context.cache, context.engine, context.dtype,
        context.hear, model, context.run.decide, truths=context.truths,
    )  # fmt: skip
    summaries, truth = features.summaries(feed.pooled("train")), feed.truth("train")
    name, task = next(iter(context.tasks.items()))
    y, weights, classes = probe_targets(task, truth.values(name))
    x = torch.cat([pick(values, truth.numbers(name)).float() for values in summaries.values()], 1)
    pieces = -(-len(y) // ROWS)
    some = (stratified_folds(y, pieces, context.options.seed) == 0) if pieces > 1 else torch.ones(len(y)).bool()
    groups = truth.groups(truth.numbers(name)[some.numpy()])
    strengths = (RIDGE_STRENGTHS if classes is None else LOGISTIC_STRENGTHS)[::2]
    search = replace(probe_search(task, None, context.options.seed, groups), strengths=strengths)
    rows = _Rows(x[some], y[some], None if weights is None else weights[some], classes, search)
    scores, order = _ranked(rows, context.options.seed)
    share = max(scores, key=lambda one: (scores[one], -one))
    kept = torch.zeros(x.shape[1], dtype=torch.bool)
    kept[order[: max(1, round(share * len(order)))]] = True
    columns, at = [], 0
    for stage, values in summaries.items():
        mine = kept[at : at + values.shape[1]].nonzero()[:, 0].tolist()
        at += values.shape[1]
        if mine:
            columns.append([stage, mine])
    counts = {stage: len(mine) for stage, mine in columns}
    return {"share": share, "scores": {str(k): v for k, v in scores.items()}, "columns": columns, "counts": counts}


def _ranked(rows: _Rows, seed: int) -> tuple[dict[float, float], Tensor]:
    """By share, the mean score over folds with the columns that the fold's own training rows rank first; and all
    columns by their mean importance over the folds.
    """
    held = stratified_folds(rows.y, min(FOLDS, len(rows.y)), seed, rows.search.groups)
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    total = torch.zeros(rows.x.shape[1])
    for fold in range(int(held.max()) + 1):
        train, out = (held != fold).nonzero()[:, 0], (held == fold).nonzero()[:, 0]
        importance, whole = rows.fit(train, out)
        total += importance / importance.max().clamp(min=1e-12)
        order = importance.argsort(descending=True, stable=True)
        for share in SHARES:
            columns = order[: max(1, round(share * len(order)))].sort().values
            scores[share].append((whole if share == 1 else rows.fit(train, out, columns)[1]).mean)
    means = {share: sum(found) / len(found) for share, found in scores.items()}
    return means, total.argsort(descending=True, stable=True)
