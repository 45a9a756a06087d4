"""What a run would do and cost: its plans, and time, memory and disk predicted from a small sample. Trains nothing.

Some rows take the way they would take in a run, through throw-away models and a throw-away cache. What that took
is scaled up to all rows.
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ukulele import data, features
from ukulele.config import FitOptions
from ukulele.events import Hear, Said
from ukulele.loop.engine import Engine, choose_device, choose_precision
from ukulele.runs import RunFolder
from ukulele.story.asked import make_tasks, refuse_for_one, refuse_for_texts, taps_of, windowed
from ukulele.story.candidates import model_name, planned, rivals, survey
from ukulele.story.choice import with_model
from ukulele.story.measuring import Line, PassCost, Sample
from ukulele.story.unread import refuse_unread
from ukulele.trial.context import Context
from ukulele.types import SPLITS, Candidate


def forecast(source: Any, options: FitOptions, hear: Hear) -> str:
    """The plans of a run and what they would cost, as text. Writes nothing but the cache of tables.

    Raises
    ------
    UkuleleError
        Whatever `uke fit` would say of the data, the model or the options before it trains.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = data.read(source, options.reading, options.cache_folder)
    for note in dataset.notes:
        hear(Said(note))
    refuse_for_one(options, dataset)
    refuse_unread(options, dataset)
    refuse_for_texts(options, dataset)
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    asked = make_tasks(dataset, options)
    nowhere = RunFolder.nowhere()
    with tempfile.TemporaryDirectory(prefix="ukulele-") as folder:
        context = Context(
            options, dataset, asked, features.Cache(Path(folder)), Engine(device, precision), precision, nowhere,
            hear=lambda _event: None, taps=taps_of(dataset, options),
        )  # fmt: skip
        context = windowed(with_model(context))
        if options.models:
            hear(Said(f"Model: {nowhere.manifest['decisions']['model']['why']}"))
        facts = survey(model_name(context), context)
        lines = []
        for candidate in (*planned(facts, context), *rivals(facts, context)):
            hear(Said(f"measuring: {candidate.name}"))
            lines.append(Sample(_placed(candidate, options), context).line(facts))
    return _text(lines, context)


def _placed(candidate: Candidate, options: FitOptions) -> Candidate:
    named = candidate.name == "probe" and options.layer not in {"auto", "last"}
    return replace(candidate, stop=options.layer) if named else candidate


# ---------------------------------------------------------------- for people


def _text(lines: Sequence[Line], context: Context) -> str:
    counts = ", ".join(f"{len(context.data.splits[s]):,} {s}" for s in SPLITS if s in context.data.splits)
    shared: dict[str, PassCost] = {}
    parts = [f"{context.data.name}: {counts} rows, on {context.engine.device} in {context.dtype}"]
    for line in lines:
        parts.append(_candidate(line, shared, context))
        shared |= line.passes
    seconds = sum(line.training for line in lines) + sum(one.seconds for one in shared.values())
    last = [line for line in lines if line.candidate.role == "rung"][-1]
    alone = last.training if len(context.tasks) > 1 and context.options.controls != "none" else 0.0  # as many rows
    more = (context.options.seeds - 1) * (last.training + alone)
    disk, budget = sum(one.size for one in shared.values()), context.options.cache_budget * 2**30
    room = "within" if disk <= budget else "more than fits (the rest is computed anew in every epoch) in"
    total = [
        ("time", f"about {_span(seconds + alone + more)} at most, start-up aside; early stopping may end sooner"),
        ("disk", f"{_bytes(disk)} of features, {room} the budget of {_bytes(budget)}"),
        ("memory", f"about {_bytes(max(line.memory for line in lines))}"),
    ]
    if alone:
        total.append(("alone", f"a model for each task by the plan that is chosen: about {_span(alone)} of that"))
    if context.options.seeds > 1:
        what = f"{context.options.seeds - 1} more of {last.candidate.name}, if it is chosen"
        what += ", and of the models for each" if alone else ""
        total.append(("seeds", f"{what}: about {_span(more)} of that"))
    if context.options.seconds is not None:
        said = "a dearer strategy is tried only while the one before it gains and this still fits"
        total.append(("budget", f"{_span(context.options.seconds)}: {said}"))
    parts.append("\n".join(["in all", *(_field(name, value) for name, value in total)]))
    parts.append("Nothing was trained. Leave --dry-run out to begin.")
    return "\n\n".join(parts)


def _candidate(line: Line, shared: Mapping[str, PassCost], context: Context) -> str:
    new = {name: one for name, one in line.passes.items() if name not in shared}
    layer = line.candidate.name == "probe" and line.candidate.stop is None and context.taps
    plan = line.plan + (", or behind the stage that a probe on each finds clearly better" if layer else "")
    search = "; the rate is searched first" if line.candidate.name == "scratch" else ""
    encode = _span(sum(one.seconds for one in new.values())) if new else "none, shared with those above"
    fields = [
        ("plan", plan + search),
        ("cut", line.cut),
        ("trains", f"{line.trained:,} of {line.total:,} parameters"),
        ("time", f"encoding {encode}; training {_span(line.training)}"),
        ("disk", _bytes(sum(one.size for one in new.values()))),
    ]
    control = "control: " if line.candidate.role == "control" else ""
    return "\n".join([f"{control}{line.candidate.name}", *(_field(name, value) for name, value in fields)])


def _field(name: str, value: str) -> str:
    return textwrap.fill(value, 100, initial_indent=f"  {name:8}", subsequent_indent=" " * 10)


def _span(seconds: float) -> str:
    """A stretch of time, roughly.

    >>> [_span(seconds) for seconds in (0.04, 3.2, 75, 5400)]
    ['0.1 s', '3.2 s', '75 s', '1 h 30 min']
    """
    if seconds < 10:
        return f"{max(0.1, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bytes(size: float) -> str:
    """A size for people.

    >>> [_bytes(size) for size in (2_000, 5 * 2**20, 20 * 2**30)]
    ['0.1 MiB', '5 MiB', '20 GiB']
    """
    if size < 2**30:
        return f"{max(0.1, size / 2**20):.{0 if size >= 2**20 else 1}f} MiB"
    return f"{size / 2**30:.3g} GiB"
