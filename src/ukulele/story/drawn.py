"""What a detector's answers say about the boxes that were drawn: which may be wrong, how large they are and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ukulele import diagnose
from ukulele.errors import DataError
from ukulele.story.scrutiny import HEADER, SHOWN, SUSPECTS, Scrutiny
from ukulele.tools.files import write_csv
from ukulele.tools.pictures import open_picture, size_of, thumbnail, with_boxes
from ukulele.trial.context import Context
from ukulele.trial.outcome import Outcome
from ukulele.trial.together import compare
from ukulele.types import SPLITS, Box, Row, Split

SURE = 0.7  # score of a detection from which it is held against the labels
CROP, ROUND = 200, 1.5  # pixels of a picture of a box; how much is shown around it, in sizes of the box
TOGETHER = 500  # pictures whose answers are held whole
LOOKED = 5000  # pictures whose sizes are read, at most
LOWEST, CELLS = -8, 12  # the smallest size as a power of two of the picture's longer side; a side of the grid of places


def look_at_boxes(chosen: Outcome, rungs: Sequence[Outcome], context: Context) -> Scrutiny:
    """Hold a detector's answers against the labels of all splits, and its rungs against each other."""
    found = Scrutiny()
    by_name = {rung.candidate.name: rung for rung in rungs}
    if "full" in by_name and "finetune" in by_name:
        found.findings += diagnose.backbone(compare(by_name["full"], by_name["finetune"], "validation"))
    for name, task in chosen.tasks.items():
        if task.kind == "detect":
            _labels(name, chosen, context, found)
            found.blocks["boxes"] = _layout(name, context)
    return found


def _labels(name: str, chosen: Outcome, context: Context, found: Scrutiny) -> None:
    task: Any = chosen.tasks[name]
    answers, values, places = [], [], list[tuple[Split, int]]()
    for split in SPLITS:
        answers += [task.seen(answer, SURE) for answer in chosen.in_turn(split, name, TOGETHER)]
        values += chosen.feed.values(split, name)
        places += [(split, int(number)) for number in context.truth(split).numbers(name)]
    doubts = [(doubt, *places[doubt.row]) for doubt in task.suspects(answers, values, SURE)]
    rows = [context.data.splits[split][number] for _, split, number in doubts]
    said: dict[bool, list[str]] = {True: [], False: []}
    for (doubt, _, _), row in zip(doubts, rows, strict=True):
        what = f"{doubt.given or 'no box'}, seen as {doubt.seen or 'nothing'} ({doubt.score:.2f})"
        said[bool(doubt.seen)].append(f"{row.where}: {what}, at {_place(doubt.box)}")
    found.findings += diagnose.box_labels(said[True], said[False], len(values), SUSPECTS)
    if context.engine.main:
        lines = [
            (row.where.file, row.where.line or "", split, name, _place(d.box), d.given, d.seen, f"{d.score:.4f}")
            for (d, split, _), row in zip(doubts, rows, strict=True)
        ]
        write_csv(context.run.path / SUSPECTS, HEADER, lines)
    found.blocks["doubted"] = [
        {
            "where": str(row.where),
            "split": split,
            "place": _place(doubt.box),
            "given": doubt.given,
            "seen": doubt.seen,
            "score": doubt.score,
            "picture": _crop(row, doubt.box),
        }
        for (doubt, split, _), row in list(zip(doubts, rows, strict=True))[:SHOWN]
    ]


def _place(box: Sequence[float]) -> str:
    return ",".join(f"{edge:.0f}" for edge in box)


def _crop(row: Row, box: Sequence[float]) -> str | None:
    """The box and what is around it as the address of a small picture; None where that cannot be read."""
    try:
        picture = open_picture(row.inputs[0]).convert("RGB")
    except DataError:
        return None
    left, top, right, bottom = box
    more = ROUND * max(right - left, bottom - top, 16)
    shown = with_boxes(picture, [("", box)])
    part = shown.crop(
        (
            max(0, round(left - more)),
            max(0, round(top - more)),
            min(picture.width, round(right + more)),
            min(picture.height, round(bottom + more)),
        )
    )
    return thumbnail(part, CROP)


def _layout(name: str, context: Context) -> dict[str, Any]:
    """How large the boxes are and where their centres lie, as shares of their pictures."""
    sizes: list[float] = []
    grid = np.zeros((CELLS, CELLS), np.int64)
    total = sum(map(len, context.data.splits.values()))
    step = -(-total // LOOKED)
    looked = 0
    for rows in context.data.splits.values():
        for number in range(0, len(rows), step):
            row = rows[number]
            measured = size_of(row.inputs[0])
            if measured is None:
                continue
            looked += 1
            for box in row.targets.get(name) or ():
                _note(box, measured, sizes, grid)
    edges = [2.0**power for power in range(LOWEST, 1)]
    counts = np.histogram(np.clip(sizes, edges[0], edges[-1]), edges)[0] if sizes else np.zeros(len(edges) - 1)
    return {
        "pictures": looked,
        "sizes": {"edges": edges, "counts": [int(count) for count in counts]},
        "places": grid.tolist(),
    }


def _note(box: Box, measured: tuple[int, int], sizes: list[float], grid: Any) -> None:
    width, height = measured
    sizes.append(float(np.sqrt((box.right - box.left) * (box.bottom - box.top)) / max(measured)))
    x, y = (box.left + box.right) / 2 / width, (box.top + box.bottom) / 2 / height
    grid[min(CELLS - 1, int(y * CELLS)), min(CELLS - 1, int(x * CELLS))] += 1
