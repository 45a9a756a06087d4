"""What is asked of data and models before anything is trained: a context that no run belongs to."""

from __future__ import annotations

from typing import Any

import torch

from ukulele import data, features, models
from ukulele.config import FitOptions
from ukulele.events import Hear, Said
from ukulele.loop.engine import Engine, choose_device, choose_precision
from ukulele.runs import RunFolder
from ukulele.story.asked import make_tasks
from ukulele.story.unread import refuse_foreign
from ukulele.trial.context import Context
from ukulele.trial.evidence import refuse_unprobed


def preview(source: Any, options: FitOptions, hear: Hear) -> Context:
    """Read the data; features are those that `uke fit` stores and reads.

    Raises
    ------
    UkuleleError
        Whatever `uke fit` would say of the data or the options before it trains.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = data.read(source, options.reading, options.cache_folder)
    refuse_foreign(options, dataset)
    for note in dataset.notes:
        hear(Said(note))
    for finding in dataset.findings:
        hear(Said(finding.message, "info" if finding.severity == "info" else "warning"))
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    cache = features.Cache(options.cache_folder, int(options.cache_budget * 2**30))
    nowhere = RunFolder.nowhere()
    return Context(
        options, dataset, make_tasks(dataset, options), cache, Engine(device, precision), precision, nowhere, hear,
        taps=True,
    )  # fmt: skip


def preview_of_one(source: Any, options: FitOptions, hear: Hear) -> tuple[Context, str]:
    """The same through one model's features, and that model's name.

    Raises
    ------
    UkuleleError
        Those of `preview`, and for data that no probe can be fitted to.
    """
    context = preview(source, options, hear)
    refuse_unprobed(context)
    return context, options.model or models.DEFAULTS[context.data.modality]
