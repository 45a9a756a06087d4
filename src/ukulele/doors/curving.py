"""`uke curve`: what more labels would bring, from probes on parts of those that there are; detectors are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from ukulele.config import FitOptions
from ukulele.doors.preview import preview
from ukulele.doors.show import table
from ukulele.errors import PlanError
from ukulele.events import Hear, Said
from ukulele.story.candidates import model_name
from ukulele.story.relearnt import relearn
from ukulele.trial.context import Context
from ukulele.trial.drawing import sample
from ukulele.trial.evidence import clearly_best, look, refuse_unprobed, stage_scores
from ukulele.trial.learning import figure, measure, told

MOST = 20_000  # rows whose curve is measured


def answer(
    source: Any, options: FitOptions, hear: Hear, *, gains: Sequence[float] | None = None
) -> dict[str, Any]:  # fmt: skip
    """The learning curve of each task, as plain JSON.

    Parameters
    ----------
    gains
        How much better is asked for, in the metric's unit: how many more labels would that take? None for some that
        are usual.

    Raises
    ------
    UkuleleError
        If the data or the model cannot be used.
    """
    wanted = tuple(gains) if gains else None
    if strange := [gain for gain in wanted or () if not gain > 0]:
        raise PlanError(f"--gain {strange[0]:g}: a number above 0 was expected.")
    context = preview(source, options, hear)
    if context.boxes:
        return {"data": context.data.name, "model": model_name(context), **trained(context, wanted)}
    if options.epochs is not None:
        raise PlanError(
            "--epochs: probes have none.", hint="Leave it out; of pictures with boxes detectors are trained."
        )
    refuse_unprobed(context)
    name = model_name(context)
    return {"data": context.data.name, "model": name, **curves(name, context, wanted)}


def trained(context: Context, gains: Sequence[float] | None) -> dict[str, Any]:
    """The curve of a detector, which has no probe."""
    if len(context.tasks) > 1:
        raise PlanError(
            f"a curve of a detector is of one data set; found the tasks {', '.join(context.tasks)}.",
            hint="Run `uke curve DATA --model …` for each.",
        )
    ((name, task),) = context.tasks.items()
    return {"layer": None, "tasks": {name: told(relearn(context), task, gains, "with a fine-tuned detector")}}


def curves(name: str, context: Context, gains: Sequence[float] | None) -> dict[str, Any]:
    """The curves of all tasks on the stage that a probe stands on; of many rows a sample is measured."""
    every = len(context.data.splits["train"])
    some = None
    if every > MOST:
        context.hear(Said(f"the curve is measured on {MOST:,} of the {every:,} rows"))
        some = sample(context, MOST)
    seen = look(name, context, some)
    scores = stage_scores(seen.stages, seen.truth, context.tasks, context.options.seed)
    asked = context.options.layer
    if asked not in {"auto", "last"} and asked not in seen.stages:
        raise PlanError(f"{name} has no stage {asked!r}.", hint="Its stages: " + ", ".join(seen.stages))
    stage = {"auto": clearly_best(scores, seen.last) or seen.last, "last": seen.last}.get(asked, asked)
    x, found = seen.stages[stage].float(), {}
    for task_name, task in context.tasks.items():
        context.hear(Said(f"{task_name}: probes on nested subsets"))
        numbers = seen.truth.numbers(task_name)
        groups, clusters = seen.truth.groups(numbers), seen.truth.clusters(numbers)
        curve = measure(x[numbers], task, seen.truth.values(task_name), context.options.seed, groups, clusters)
        labelled = len(context.truth("train").numbers(task_name))
        found[task_name] = told(replace(curve, rows=labelled), task, gains)
    return {"layer": stage, "tasks": found}


def show(found: Mapping[str, Any], console: Console, data: Sequence[str]) -> None:
    """Curves for people."""
    del data
    for name, curve in found["tasks"].items():
        percent = f"{100 * curve['level']:.0f} % interval"
        console.print(
            f"{name}: {curve['metric']} of {_what(found)}, by labelled rows",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        rows = [(f"{p['rows']:,}", f"{p['value']:.4f}", _ends(p), "measured") for p in curve["points"]]
        expected = [*_now(curve), *curve["expected"]]
        rows += [(f"{p['rows']:,}", f"{p['value']:.4f}", _ends(p), "expected") for p in expected]
        table(console, ("rows", curve["metric"], percent, ""), rows)
        console.print(f"Without any further gain it stays at {curve['no_further_gain']:.4f}.", markup=False)
        for more in curve["more"]:
            console.print(
                _labels(more, curve["metric"], lower=not curve["higher_is_better"]), markup=False, soft_wrap=True
            )
        console.print(curve["advice"], markup=False, soft_wrap=True)
        console.print()


def _what(found: Mapping[str, Any]) -> str:
    model = found["model"]
    return f"{model}, fine-tuned" if found["layer"] is None else f"a probe on {found['layer']} of {model}"


def _now(curve: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What is expected of the rows that there are, where only a sample of them was measured."""
    return curve.get("line", ())[:1] if curve["measured_rows"] < curve["rows"] else ()


def _ends(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['low']:.4f} to {estimate['high']:.4f}" if "low" in estimate else ""


def _labels(more: Mapping[str, Any], metric: str, *, lower: bool) -> str:
    """How many more labels a gain takes, in words.

    >>> found = {"value": 400.0, "low": 90.0, "high": None, "reached": 0.9}
    >>> _labels({"gain": 0.02, **found}, "accuracy", lower=False)
    '+0.02 accuracy: about 400 more labels (90 or more)'
    >>> _labels({"gain": 0.24, "share": 0.02, **found}, "rmse", lower=True)
    '−0.240 rmse (2 % less): about 400 more labels (90 or more)'
    """
    amount = figure(more["gain"]) if "share" in more else f"{more['gain']:g}"
    less = f" ({100 * more['share']:g} % less)" if "share" in more else ""
    start = f"{'−' if lower else '+'}{amount} {metric}{less}: "
    if more["value"] is None:
        return f"{start}hardly within 64 times the rows ({more['reached']:.0%} of the curves get there)"
    high = "or more" if more["high"] is None else f"to {_round(more['high'])}"
    return f"{start}about {_round(more['value'])} more labels ({_round(more['low'])} {high})"


def _round(number: float) -> str:
    """Two digits are all that is known.

    >>> _round(1234.0), _round(57.0), _round(3.2)
    ('1,200', '57', '3')
    """
    size = 10 ** max(0, len(str(int(number))) - 2)
    return f"{int(round(number / size) * size):,}"
