"""The commands that are asked before anything is trained. They import no torch until they run."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from rich.console import Console

from ukulele.doors import options as o

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def check(
    data: o.Data,
    target: o.Target = None,
    text: o.Text = None,
    task: o.Task = None,
    group: o.Group = None,
    time: o.Time = None,
    split: o.Split = None,
    max_bad: o.MaxBad = 0.05,
    model: o.Model = None,
    max_length: o.MaxLength = None,
    quarantine: o.Quarantine = None,
    findings: o.Findings = None,
) -> None:
    """Read DATA, say what was understood, and list what is wrong with it. Trains nothing."""
    options = _options(locals())
    from ukulele import data as reading
    from ukulele.doors.checking import check as run
    from ukulele.doors.show import checked

    with reading.listing(quarantine):
        dataset = run(reading.named(data), options, every=findings is not None)
    if quarantine is not None:
        reading.write_quarantine(quarantine, dataset.quarantine, "--quarantine")
    if findings is not None:
        reading.write_findings(findings, dataset.findings)
    checked(dataset, out)


def choose(
    data: o.Data,
    models: o.Models = None,
    budget: o.Spend = None,
    max_latency: o.MaxLatency = None,
    max_size: o.MaxSize = None,
    target: o.Target = None,
    text: o.Text = None,
    task: o.Task = None,
    group: o.Group = None,
    time: o.Time = None,
    split: o.Split = None,
    max_bad: o.MaxBad = 0.05,
    metric: o.Metric = None,
    max_length: o.MaxLength = None,
    long: o.Long = "cut",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    cache: o.CacheFolder = None,
    cache_budget: o.CacheBudget = 20.0,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
) -> None:
    """Rank pre-trained models on DATA before one of them is trained. `uke fit` reads the features that this stores."""
    options = _options(locals())
    _untrained(
        "choosing", data, (quiet, as_json), options, models=models, budget=budget,
        max_latency=max_latency, max_size=max_size,
    )  # fmt: skip


def curve(
    data: o.Data,
    gain: o.Gain = None,
    model: o.Model = None,
    layer: o.Layer = "auto",
    epochs: o.Epochs = None,
    target: o.Target = None,
    text: o.Text = None,
    task: o.Task = None,
    group: o.Group = None,
    time: o.Time = None,
    split: o.Split = None,
    max_bad: o.MaxBad = 0.05,
    metric: o.Metric = None,
    max_length: o.MaxLength = None,
    long: o.Long = "cut",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    cache: o.CacheFolder = None,
    cache_budget: o.CacheBudget = 20.0,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
) -> None:
    """Say what more labels would bring: a learning curve of probes on parts of DATA, extrapolated with intervals."""
    _untrained("curving", data, (quiet, as_json), _options(locals()), gains=gain)


def diagnose(
    data: o.Data,
    against: o.Against = None,
    model: o.Model = None,
    target: o.Target = None,
    text: o.Text = None,
    task: o.Task = None,
    group: o.Group = None,
    time: o.Time = None,
    split: o.Split = None,
    max_bad: o.MaxBad = 0.05,
    metric: o.Metric = None,
    max_length: o.MaxLength = None,
    long: o.Long = "cut",
    seed: o.Seed = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    cache: o.CacheFolder = None,
    cache_budget: o.CacheBudget = 20.0,
    quiet: o.Quiet = False,
    as_json: o.Json = False,
) -> None:
    """Say what one pass of a model through DATA tells before training: what is learnt, by which stage, how far."""
    _untrained("diagnosing", data, (quiet, as_json), _options(locals()), against=against)


def _options(given: dict[str, Any]) -> Any:
    """The options of a run among the arguments of a command."""
    from ukulele.config import FitOptions

    names = FitOptions.__dataclass_fields__.keys() & given.keys() - {"models"}  # those of choose are ranked, not fitted
    plain: dict[str, Any] = {n: tuple(given[n] or ()) if n in {"target", "text"} else given[n] for n in names}
    return FitOptions(**plain)


def _untrained(door: str, data: list[str], ways: tuple[bool, bool], options: Any, **asked: Any) -> None:
    """What is asked before training: carried out by the module `door`, and shown in words or as JSON."""
    from ukulele.data import named
    from ukulele.doors.show import Screen

    quiet, as_json = ways
    with Screen(err, quiet=quiet) as screen:
        module = import_module(f"ukulele.doors.{door}")
        found = module.answer(named(data), options, screen.hear, **asked)
    if as_json:
        out.print_json(json.dumps(found, allow_nan=False))
    else:
        module.show(found, out, data)
