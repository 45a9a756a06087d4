"""Which pre-trained model a run transfers, where several are named: the ranking of `uke choose`, within the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ukulele.errors import ModelError
from ukulele.events import Said
from ukulele.models.named import named_models
from ukulele.runs import RunFolder
from ukulele.trial.context import Context
from ukulele.trial.glimpse import Limits
from ukulele.trial.ranking import overrun, plain, rank_models

SHARE = 0.25  # of the budget that may go into the choice; what it stores, the probe reads


def with_model(context: Context) -> Context:
    """The context with the model that is expected to transfer best; as it is where none is to be chosen.

    Raises
    ------
    UkuleleError
        If there is no model to choose, or none that can be used on these data.
    """
    if not context.options.models:
        return context
    found = context.decide("model", lambda: _ranked(context))
    context.hear(Said(f"Model: {found['why']}"))
    return replace(context, options=replace(context.options, model=found["chosen"], models=()))


def _ranked(context: Context) -> dict[str, Any]:
    """The ranking as plain JSON, with the reason in words. Nothing of it is kept but the features."""
    names = named_models(context.options.models, context.data.modality)
    if not names:
        raise ModelError(
            f"no model for {context.data.modality} data is on this machine.",
            hint="Name some: --models A B, a folder of .safetensors files, or a text file with one a line.",
        )
    nowhere = RunFolder.nowhere()
    alone = replace(context, run=nowhere, taps=True, pristine={})
    budget = context.options.seconds
    limits = Limits(budget=None if budget is None else budget * SHARE)
    found = plain(rank_models(names, alone, limits), alone)
    return {**found, "why": why(found)}


def why(found: Mapping[str, Any]) -> str:
    """Why the first of a ranking is taken, in words.

    >>> expected = lambda value: {"label": {"value": value, "low": value - 0.02, "high": value + 0.02}}
    >>> one = {"model": "a", "expected": expected(0.9), "regret": 0.001, "rows": 400, "status": "ranked"}
    >>> two = one | {"model": "b", "expected": expected(0.8), "regret": 0.1}
    >>> found = {"models": [one, two], "metric": {"label": "accuracy"}, "learnt": {"label": {"something": True}}}
    >>> why(found | {"seconds": 3.0, "limit_seconds": None})
    'a, of 2: accuracy 0.900 (0.880 to 0.920) expected of a probe, on 400 rows; then b, 0.800, expected regret 0.100'
    """
    best, *others = found["models"]
    metrics = list(found["metric"].values())
    said = f"{best['model']}, of {len(found['models'])}"
    if best.get("expected"):
        said += f": {_expected(best, metrics)} expected of a probe, on {best['rows']:,} rows"
    second = next((one for one in others if one["status"] == "ranked" and one.get("expected")), None)
    if second is not None:
        value = sum(one["value"] for one in second["expected"].values()) / len(second["expected"])
        said += f"; then {second['model']}, {value:.3f}, expected regret {second['regret']:.3f}"
    if all(one["something"] is False for one in found["learnt"].values()):
        said += ". No probe of any of them learns anything, so this order means little"
    if missed := sum(one["status"] == "not looked at" for one in found["models"]):
        said += f". Not looked at for want of time: {missed} of them"
    return f"{said}. {late}" if (late := overrun(found)) else said


def _expected(one: Mapping[str, Any], metrics: list[str]) -> str:
    values = list(one["expected"].values())
    if len(values) > 1:
        return f"a mean score of {sum(value['value'] for value in values) / len(values):.3f}"
    return f"{metrics[0]} {values[0]['value']:.3f} ({values[0]['low']:.3f} to {values[0]['high']:.3f})"
