"""Answers for new rows, from a bundle: the same preprocessing as in training, by construction."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import nn

from ukulele import data, evaluate, models, tasks
from ukulele.errors import ModelError, PlanError, RunError
from ukulele.features.encode import Frozen, Pass, by_length, longest
from ukulele.loop.engine import arithmetic, choose_device, choose_precision
from ukulele.loop.private import shared, with_tops
from ukulele.models.bundle import GROUPS, Kept, fill, read_bundle
from ukulele.tools.collate import collate, widen
from ukulele.tools.domain import Domain
from ukulele.types import CALIBRATED, Dataset, Head, Modality, Model, Request, Task, Tensors, Writing

WINDOW = 2048  # rows among which texts of like length are put together
TOLERANCE = 2e-3  # of a golden example's numbers: libraries and processors differ in the last bits


class Predictor:
    """A trained model with its heads and tasks."""

    def __init__(
        self, model: Model, heads: Mapping[str, Head], asked: Mapping[str, Task], about: Mapping[str, Any],
        precision: str = "fp32", device: str = "cpu", kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self.model, self.heads, self.tasks, self.about = model, heads, asked, about
        self.device, self.kept = device, kept or Kept()
        self.cut = 0  # rows so far of which only a part was read
        told = self.kept.plain.get("domain")
        self.domain = Domain.load({k: v.numpy() for k, v in self.kept.arrays.items()}, told) if told else None
        self._arithmetic = partial(arithmetic, precision, device)  # of the heads: as in the run
        self._frozen = Frozen(model, Pass(len(model.stages), dtype=precision, device=device))
        self._ragged = any(field.axis for field in model.inputs.values())
        for head in heads.values():
            if isinstance(head, nn.Module):
                head.eval().to(device)

    @classmethod
    def load(cls, path: Path, precision: str = "auto", device: str = "auto", *, verify: bool = True) -> Self:
        """The model of a run or bundle.

        Raises
        ------
        RunError
            If it is missing, damaged, newer than this version, or answers its own examples otherwise than it
            did when it was made.
        """
        bundle = read_bundle(path, models.build)
        about = bundle.about
        try:
            asked = {name: tasks.load(plain) for name, plain in about["tasks"].items()}
        except (KeyError, TypeError) as error:
            raise RunError(f"{path} holds a task that this version does not know: {error}") from error
        model, heads = bundle.model, {name: task.head(bundle.model) for name, task in asked.items()}
        if private := int(about.get("private_stages", 0)):
            model, heads = shared(model, private), with_tops(model, private, heads)
        for name, head in heads.items():
            if isinstance(head, nn.Module):
                fill(head, bundle.heads.get(name, {}))
        if verify:
            _verify(path, cls(model, heads, asked, about), bundle.golden)
        where = choose_device(device)
        if precision == "auto" and about.get("precision") == "fp32":
            precision = "fp32"  # as it was trained and measured
        return cls(model, heads, asked, about, choose_precision(precision, where), where, bundle.kept)

    @property
    def modality(self) -> Modality:
        """text, pair or image."""
        found: Modality = self.about["modality"]
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that were the input in training."""
        return tuple(self.about["columns"])

    @property
    def teaches(self) -> bool:
        """Whether a reference is scored by going in with the inputs."""
        return self.model.teaches

    def windowed(self, dataset: Dataset) -> Dataset:
        """Plain text in rows as long as the model takes, of which nothing but the loss is asked; others as they are."""
        if self.model.windows is None or not any(target.free for target in dataset.targets):
            return dataset
        self.decoding(tokens=0)
        return data.windows(dataset, self.model.windows, int(self.model.limit or 0))

    def only(self, names: Collection[str]) -> Self:
        """The same model asked for some of its tasks; all where none is named.

        Raises
        ------
        PlanError
            If it has no such task.
        """
        _known(names, self.tasks)
        if names:
            self.tasks = {name: task for name, task in self.tasks.items() if name in names}
        return self

    def decoding(self, **changed: Any) -> Self:
        """The same model with other numbers of its decoding, such as the confidence of a detector.

        Raises
        ------
        PlanError
            If a task has no such number.
        """
        for name, task in self.tasks.items():
            if "overlap" in changed and not getattr(self.heads[name], "suppresses", True):
                raise PlanError("--iou: this detector gives each object one box.", hint="Leave it out; --conf works.")
            known = {field.name for field in fields(task.decoding)}
            if wrong := [one for one in changed if one not in known]:
                who = "models that write" if set(wrong) & {field.name for field in fields(Writing)} else "detectors"
                raise PlanError(f"{', '.join(wrong)}: task {name!r} has no such number; {who} do.")
        self.tasks = {
            name: replace(task, decoding=replace(task.decoding, **changed))  # type: ignore[type-var]
            for name, task in self.tasks.items()
        }
        return self

    def answer(self, inputs: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
        """Plain answers by task for some rows, in their order."""
        raw = self.raw(inputs)
        plain = {name: task.plain(task.decode(raw[name])) for name, task in self.tasks.items()}  # type: ignore[attr-defined]
        return [{name: plain[name][i] for name in plain} for i in range(len(inputs))]

    def raw(self, inputs: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
        """Raw answers by task."""
        return self.seen(inputs)[0]

    def seen(self, inputs: Sequence[tuple[Any, ...]], *, features: bool = False) -> tuple[dict[str, list[Any]], Any]:
        """Raw answers by task, and, where asked for, what the trunk makes of each row (n, width)."""
        found: dict[str, list[Any]] = {name: [None] * len(inputs) for name in self.tasks}
        summaries: list[Any] = [None] * len(inputs)
        encoded = self.model.encode(inputs, [0] * len(inputs)) if inputs else []
        lengths = [longest(row, self.model.inputs) if self._ragged else 1 for row in encoded]
        part = self._too_long(inputs, lengths)
        for numbers in by_length(lengths, self.model.together):
            live = self._trunk([encoded[i] for i in numbers])
            with torch.inference_mode(), self._arithmetic():
                for name, task in self.tasks.items():
                    for number, one in zip(numbers, self.heads[name].predict(live, task.decoding), strict=True):
                        found[name][number] = one
                        part |= {number} if getattr(one, "unread", 0) else set()
                if features:
                    values = live["pooled"] if "pooled" in live else self.model.summary(live)
                    for number, one in zip(numbers, values.float().cpu().numpy(), strict=True):
                        summaries[number] = one
        self.cut += len(part)
        return found, np.array(summaries) if features else None

    def _trunk(self, rows: Sequence[Tensors]) -> Tensors:
        """Live values behind the last stage."""
        return widen(self._frozen.answer(collate(rows, self.model.inputs)))

    def _too_long(self, inputs: Sequence[tuple[Any, ...]], lengths: Sequence[int]) -> set[int]:
        """The rows that were cut, as they are longer than the model takes."""
        limit, measure = self.model.limit, self.model.lengths
        full = [row for row, length in enumerate(lengths) if limit is not None and length >= limit]
        if not full or measure is None or limit is None:
            return set()
        whole = measure([inputs[row] for row in full])
        return {row for row, texts in zip(full, whole, strict=True) if any(length > limit for length in texts)}

    def spoken(self, text: str, streamer: Callable[[Callable[[Sequence[int]], str]], Any]) -> None:
        """Write what the only task's head has to say to a text, token by token.

        `streamer` makes what is given each token as it comes (`put`, `end`), from how tokens read as text.
        """
        ((name, task),) = self.tasks.items()
        (row,), head = self.model.encode([(text,)], [0]), cast("Any", self.heads[name])
        room = head.room(task.decoding) if hasattr(head, "room") else len(row["ids"])
        self.cut += bool(self._too_long([(text,)], [longest(row, self.model.inputs)])) or len(row["ids"]) > room
        with torch.inference_mode(), self._arithmetic():
            head.stream(row, lambda: self._trunk([row]), task.decoding, streamer(head.speech(row)))

    def weighed(self, inputs: Sequence[tuple[Any, ...]], level: float | None = None) -> list[dict[str, Any]]:
        """Plain answers by task as `answer` gives them, with what may be true at a level, and `outside`: whether the
        row is unlike those of training.
        """
        raw, features = self.seen(inputs, features=self.domain is not None)
        outside = self.domain.outside(features) if self.domain is not None and len(inputs) else None
        found: list[dict[str, Any]] = [{} for _ in inputs]
        for name, task in self.tasks.items():
            final = task.decode(raw[name])
            more = evaluate.sets(task, final, self.reach(name, level)) if level is not None else [{}] * len(inputs)
            for at, (plain, one) in enumerate(zip(task.plain(final), more, strict=True)):  # type: ignore[attr-defined]
                found[at][name] = plain | one | ({} if outside is None else {"outside": bool(outside[at])})
        return found

    def reach(self, task: str, level: float) -> float:
        """How strange an answer may be to be in the set at a level.

        Raises
        ------
        PlanError
            If no row calibrated the task, too few did, or the level is no share that so many rows can promise.
        """
        strange = self.kept.plain.get("strange", {}).get(task, ())
        if not 0 < level < 1:
            raise PlanError(f"--abstain {level:g}: a share between 0 and 1 was expected, such as 0.95.")
        if len(strange) < evaluate.LEAST:
            if self.tasks[task].kind not in CALIBRATED:
                raise PlanError(f"--abstain: for labels and numbers; {task!r} has neither.", hint="Leave it out.")
            what = "no rows were" if not strange else f"only {len(strange)} rows of {task!r} were"
            raise PlanError(
                f"--abstain {level:g}: {what} set apart to calibrate prediction sets; at least {evaluate.LEAST} are "
                "needed, that served nothing else.",
                hint="Fit again with --calibrate auto.",
            )
        reach = evaluate.reach(np.array(strange), level)
        if reach == float("inf"):
            raise PlanError(
                f"--abstain {level:g}: {len(strange)} calibration rows promise {len(strange) / (len(strange) + 1):.4f} "
                "at most.",
                hint="Ask for less, or fit again with a larger --calibrate.",
            )
        return reach

    def stream(
        self, inputs: Iterable[tuple[Any, ...]], level: float | None = None, *, weigh: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Plain answers by task, row after row, a window of rows in memory; as `weighed` where asked for."""
        rows = iter(inputs)
        while some := list(islice(rows, self.window)):
            yield from self.weighed(some, level) if weigh or level is not None else self.answer(some)

    @property
    def window(self) -> int:
        """Rows that are held in memory at a time."""
        return WINDOW if self._ragged else 256


class Grouped:
    """Models for groups of tasks, asked as one."""

    def __init__(self, members: Sequence[Predictor]) -> None:
        self.members = members

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks, by name."""
        return {name: task for member in self.members for name, task in member.tasks.items()}

    @property
    def about(self) -> Mapping[str, Any]:
        """What is known of all together."""
        asked = {name: told for member in self.members for name, told in member.about["asked"].items()}
        return {**self.members[0].about, "asked": asked}

    @property
    def modality(self) -> Modality:
        """text, pair or image."""
        return self.members[0].modality

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that were the input in training."""
        return self.members[0].columns

    @property
    def cut(self) -> int:
        """Rows so far of which only a part was read."""
        return max(member.cut for member in self.members)

    @property
    def teaches(self) -> bool:
        """Never: models that write have one task."""
        return False

    def windowed(self, dataset: Dataset) -> Dataset:
        """The data as they are."""
        return dataset

    def only(self, names: Collection[str]) -> Grouped:
        """Those members alone that have some of the tasks."""
        _known(names, self.tasks)
        mine = [(member, [name for name in names if name in member.tasks]) for member in self.members]
        return Grouped([member.only(some) for member, some in mine if some]) if names else self

    def decoding(self, **changed: Any) -> Grouped:
        """Those members with other numbers of their decoding."""
        return Grouped([member.decoding(**changed) for member in self.members])

    def raw(self, inputs: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
        """Raw answers by task."""
        return {name: answers for member in self.members for name, answers in member.raw(inputs).items()}

    def answer(self, inputs: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
        """Plain answers by task for some rows, in their order."""
        found = [member.answer(inputs) for member in self.members]
        return [{name: told for one in row for name, told in one.items()} for row in zip(*found, strict=True)]

    def weighed(self, inputs: Sequence[tuple[Any, ...]], level: float | None = None) -> list[dict[str, Any]]:
        """As a member's."""
        found = [member.weighed(inputs, level) for member in self.members]
        return [{name: told for one in row for name, told in one.items()} for row in zip(*found, strict=True)]

    def reach(self, task: str, level: float) -> float:
        """As that of the member that has the task."""
        return next(member for member in self.members if task in member.tasks).reach(task, level)

    def stream(
        self, inputs: Iterable[tuple[Any, ...]], level: float | None = None, *, weigh: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Plain answers by task, row after row, a window of rows in memory."""
        rows = iter(inputs)
        while some := list(islice(rows, self.members[0].window)):
            yield from self.weighed(some, level) if weigh or level is not None else self.answer(some)


def load_model(path: Path, precision: str = "auto", device: str = "auto") -> Predictor | Grouped:
    """The model of a run or bundle, or those of its groups, each checked against its own examples.

    Raises
    ------
    RunError
        As `Predictor.load`.
    """
    if models.is_pretrained(str(path)):
        precise = "fp32" if precision == "auto" else precision  # as its published figures were measured
        return untouched(path, precise, choose_device(device))
    folder = path if (path / GROUPS).is_file() else path / "bundle"
    if not (folder / GROUPS).is_file():
        return Predictor.load(path, precision, device)
    try:
        groups = json.loads((folder / GROUPS).read_text("utf-8"))["groups"]
        places = [folder / str(group["folder"]) for group in groups]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / GROUPS} is damaged: {error}") from error
    return Grouped([Predictor.load(place, precision, device) for place in places])


def untouched(path: Path, precision: str, device: str) -> Predictor:
    """A pre-trained detector as it is, for the classes that it knows.

    Raises
    ------
    ModelError
        If the file holds another kind of model: those have no answers before they are fitted.
    """
    model = models.load(Request(str(path)), "image")
    if "detect" not in model.heads:
        raise ModelError(
            f"{path} has no head that answers: only a detector can be used as it is.", hint="Fit it first: `uke fit`."
        )
    task = tasks.Detect("objects", tuple(model.recipe["labels"]))
    about = {"modality": "image", "columns": ["path"], "tasks": {task.name: tasks.dump(task)}, "precision": precision}
    return Predictor(model, {task.name: task.head(model)}, {task.name: task}, about, precision, device)


def _known(names: Collection[str], tasks: Mapping[str, Task]) -> None:
    for name in names:
        if name not in tasks:
            raise PlanError(f"--task {name}: the model has no such task.", hint=f"Choose {', '.join(tasks)}.")


def _verify(path: Path, predictor: Predictor, golden: Mapping[str, Any]) -> None:
    inputs = [
        tuple(v if isinstance(v, str) else base64.b64decode(v["png"]) for v in given) for given in golden["inputs"]
    ]
    try:
        found = predictor.answer(inputs)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"{path} cannot answer its own examples: {error}") from error
    if not _close(found, golden["answers"]):
        raise RunError(
            f"{path} answers its own examples otherwise than when it was made.",
            hint="The libraries here may differ too much from those it was made with; see versions in its record.json.",
        )


def _close(found: Any, expected: Any) -> bool:
    match found, expected:
        case dict(), dict():
            return found.keys() == expected.keys() and all(_close(found[k], expected[k]) for k in found)
        case list(), list():
            return len(found) == len(expected) and all(map(_close, found, expected))
        case float() | int(), float() | int():
            return bool(abs(found - expected) <= TOLERANCE * max(1.0, abs(expected)))
        case _:
            return bool(found == expected)
