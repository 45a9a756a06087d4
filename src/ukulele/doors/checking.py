"""`uke check`: what is wrong with a data set, and which of its texts are longer than the model takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ukulele import data, diagnose
from ukulele.config import FitOptions
from ukulele.types import WRITTEN, Dataset, Finding, Request

EVERY = 1_000_000  # examples of a finding, where all are asked for


def check(source: Any, options: FitOptions, *, every: bool = False) -> Dataset:
    """Read and check a data set, and train nothing. `every`: findings hold all their examples rather than a few.

    Texts are counted in the tokens of `options.model`, or of the embedded model where it is installed.
    """
    reading = replace(options.reading, examples=EVERY) if every else options.reading
    dataset = data.read(source, reading, options.cache_folder)
    if dataset.modality == "image" or options.long == "chunk":
        return dataset
    from ukulele.models import DEFAULTS, counting, hub

    if any(target.kind in WRITTEN for target in dataset.targets):
        free = any(target.free for target in dataset.targets)  # plain text is cut into windows
        long = [] if options.model is None or free else _written(dataset, options)
        return replace(dataset, findings=(*dataset.findings, *long))
    if options.model is None and not hub.offline_installed():
        return dataset
    request = Request(
        options.model or DEFAULTS[dataset.modality],
        inputs=len(dataset.columns),
        mixed=data.mixed(dataset),
        max_length=options.max_length,
    )
    limit, counts = counting.tokens(request, (row.inputs for rows in dataset.splits.values() for row in rows))
    long = diagnose.lengths(limit, counts, "texts", chunks=counting.chunkable(request))
    return replace(dataset, findings=(*dataset.findings, *long))


def _written(dataset: Dataset, options: FitOptions) -> list[Finding]:
    """Texts, or their answers, that are longer than a model that writes takes."""
    from ukulele.models import counting

    target = dataset.targets[0].name
    pairs = ((row.inputs[0], row.targets[target]) for rows in dataset.splits.values() for row in rows)
    chat = dataset.columns == (data.MESSAGES,)
    request = Request(
        options.model or "", max_length=options.max_length, writes=dataset.targets[0].kind, chat=chat,
        languages=options.languages_of(dataset),
    )  # fmt: skip
    limit, counts = counting.written(request, pairs)
    return diagnose.lengths(limit, counts, "texts and answers", chunks=False)
