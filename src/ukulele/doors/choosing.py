"""`uke choose`: pre-trained models ranked on a data set, before one of them is trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ukulele.config import FitOptions
from ukulele.doors.preview import preview
from ukulele.doors.show import interval, table
from ukulele.errors import ModelError, PlanError
from ukulele.events import Hear, Said
from ukulele.models.named import named_models
from ukulele.tools.typed import seconds
from ukulele.trial.glimpse import Limits
from ukulele.trial.ranking import overrun, plain, rank_models

SPARE = ("rows", "pass", "layer", "licence", "MB")  # columns that a narrow screen may do without
HEADER = ("", "model", "expected {}", "95 % interval", "regret", "layer", "rows", "ms a row", "pass", "MB", "licence")


def choose(source: Any, options: FitOptions, models: Sequence[str], limits: Limits, hear: Hear) -> dict[str, Any]:
    """Rank models on a data set; the ranking as plain JSON.

    Parameters
    ----------
    source
        As for `uke fit`.
    options
        How the data are read and features computed; those of training are not looked at.
    models
        Names, files or folders; ``local`` for all that is on this machine; or a text file with one a line.
    limits
        What an answer may cost, and how long ranking may take.

    Raises
    ------
    UkuleleError
        If the data cannot be used, or no model can.
    """
    context = preview(source, options, hear)
    names = named_models(models or ("local",), context.data.modality)
    if not names:
        raise ModelError(
            f"no model for {context.data.modality} data is on this machine.",
            hint="Name some: --models A B, a folder of .safetensors files, or a text file with one a line.",
        )
    hear(Said(f"{len(names)} models: {', '.join(Path(name).stem or name for name in names)}"))
    return plain(rank_models(names, context, limits), context)


def answer(
    source: Any,
    options: FitOptions,
    hear: Hear,
    *,
    models: Sequence[str] | None = None,
    budget: str | float | None = None,
    max_latency: float | None = None,
    max_size: float | None = None,
) -> dict[str, Any]:
    """The same with limits as they are typed: a time such as 5m, milliseconds, megabytes."""
    for name, value in (("--max-latency", max_latency), ("--max-size", max_size)):
        if value is not None and not value > 0:
            raise PlanError(f"{name} {value:g}: a number above 0 was expected.")
    limits = Limits(
        None if max_latency is None else max_latency / 1e3,
        None if max_size is None else int(max_size * 1e6),
        seconds(str(budget)) if budget is not None else None,
    )
    return choose(source, options, models or (), limits, hear)


def show(found: Mapping[str, Any], console: Console, data: Sequence[str]) -> None:
    """The ranking for people: a table, what it rests on, and what to type next."""
    metrics = list(found["metric"].values())
    metric = metrics[0] if len(metrics) == 1 else "score"
    ranked = [one for one in found["models"] if one.get("expected")]
    left_out = table(console, [name.format(metric) for name in HEADER], [_row(one, metrics) for one in ranked], SPARE)
    for one in found["models"]:
        if one["status"] != "ranked":
            console.print(f"{_short(one['model'])}: {one['status']}: {one['why']}", markup=False, soft_wrap=True)
    console.print()
    if left_out:
        console.print(
            f"Not shown on a screen as narrow as this, but with --json: {', '.join(left_out)}.", soft_wrap=True
        )
    for sentence in sentences(found):
        console.print(sentence, markup=False, soft_wrap=True)
    command = shlex.join(["uke", "fit", *data, "--model", found["chosen"]])
    console.print(f"next    {command}", markup=False, soft_wrap=True)


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What a ranking says, in words."""
    best = found["models"][0]
    ranked = [one for one in found["models"] if one["status"] == "ranked"]  # on the same rows
    said = []
    for task, learnt in found["learnt"].items():
        if learnt["something"] is None:
            said.append(
                f"The training rows of {task!r} are too few, of each class or in all, to tell whether a probe learns "
                "anything, and this order rests on little. Label more rows of each class."
            )
        elif not learnt["something"]:
            same = interval(learnt["same_for_all"], 3).strip()
            said.append(
                f"Nothing to learn for {task!r}: behind no stage of any model does a probe do better than the same "
                f"answer for every row ({found['metric'][task]} {same}). Look at the labels and the inputs first."
            )
    if any(learnt["something"] is not False for learnt in found["learnt"].values()):
        ahead = "There is no other to choose."
        if len(ranked) > 1:
            ahead = f"A better one among them is expected to be ahead by {best['regret']:.3f} on average."
        said.append(f"Chosen: {_short(best['model'])}. {ahead}")
        close = [_short(one["model"]) for one in ranked[1:] if one["regret"] - best["regret"] < SAME]
        if close:
            said.append(f"As good as equal to it: {', '.join(close)}. Take the cheapest of them.")
    said.append(
        "Expected scores are those of a probe on frozen features, cross-validated; fine-tuning may change them. Models "
        "are ordered by the regret, which all scores together give (see docs/choosing.md)."
    )
    return [*said, *filter(None, [overrun(found)])]


SAME = 0.003  # of regret: no test split of a usual size would tell such models apart


def _row(one: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...]:
    values = list(one["expected"].values())
    several = len(metrics) > 1
    mean = sum(value["value"] for value in values) / max(len(values), 1)
    first = values[0] if values and not several else None
    return (
        str(one["rank"]) if one["status"] == "ranked" else "-",
        _short(one["model"]),
        f"{mean:.3f}",
        f"{first['low']:.3f} to {first['high']:.3f}" if first else "",
        "-" if one["regret"] is None else f"{one['regret']:.3f}",
        one["layer"],
        f"{one['rows']:,}",
        f"{one['latency_seconds'] * 1e3:.1f}",
        f"{one['pass_seconds']:.0f} s",
        f"{one['size_bytes'] / 1e6:.1f}",
        one["licence"],
    )


def _short(name: str) -> str:
    """A model's name without the folders that lead to it; a run's bundle by the name of the run."""
    path = Path(name)
    if path.name == "bundle" and path.parent.name:
        return path.parent.name
    return path.stem if path.suffix == ".safetensors" else path.name or name
