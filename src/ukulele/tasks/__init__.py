"""What is asked: targets, decoding, metrics, and the heads that answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, TypeAlias

from ukulele.errors import DataError, PlanError
from ukulele.tasks import texts
from ukulele.tasks.classify import Classify
from ukulele.tasks.decoding import Identity, Suppression, Temperature, Thresholds
from ukulele.tasks.detect import Detect
from ukulele.tasks.multilabel import MultiLabel
from ukulele.tasks.regress import Regress
from ukulele.tasks.texts import counted, signatures
from ukulele.tasks.write import MORE, MOST, Write
from ukulele.types import Target, Writing

AnyTask: TypeAlias = Classify | MultiLabel | Regress | Detect | Write
ClassWeights: TypeAlias = Literal["balanced"] | Mapping[str, float] | None

__all__ = [
    "AnyTask", "ClassWeights", "Classify", "Detect", "MultiLabel", "Regress", "Write", "counted", "dump", "load",
    "make", "signatures",
]  # fmt: skip


def make(
    target: Target, values: Sequence[Any] = (), metric: str | None = None, class_weights: ClassWeights = None
) -> AnyTask:
    """The task for a target.

    Parameters
    ----------
    target
        Name, kind and labels.
    values
        The targets of the training rows: class weights, mean and scale come from them, and which labels none has.
    metric
        The name of the metric that decides; None takes the task's own.
    class_weights
        "balanced" (a class weighs inversely to how frequent it is), weights by label, or None.

    Raises
    ------
    PlanError
        If the metric is unknown for this kind of target, or class weights are asked for one that has none.

    Examples
    --------
    >>> make(Target("mood", "classify", ("bad", "good")), ["bad", "good", "good"], class_weights="balanced").weights
    (1.5, 0.75)
    """
    task = _make(target, values, class_weights)
    chosen = task if metric is None else replace(task, metric=metric)
    _ = chosen.metrics  # an unknown name is refused here, not after training
    return chosen


def _make(target: Target, values: Sequence[Any], class_weights: ClassWeights) -> AnyTask:
    if class_weights is not None and target.kind != "classify":
        raise PlanError(
            f"class weights make no sense for {target.name!r}: its kind is {target.kind}, not classify.",
            hint="Leave the class weights out.",
        )
    match target.kind:
        case "classify":
            return Classify(target.name, target.labels, _weights(target, values, class_weights))
        case "multilabel":
            return MultiLabel(target.name, target.labels, unseen=_unseen(target, values))
        case "regress":
            return Regress(target.name, *_mean_and_scale(target, values))
        case "detect":
            return Detect(target.name, target.labels)
        case "translate" | "summarise" | "generate":
            if not target.free:
                texts.refuse_absent()
            first = texts.names(target.kind, target.free)[0]
            return Write(target.kind, target.name, first, target.free, Writing() if target.free else _room(values))


def _room(values: Sequence[Any]) -> Writing:
    """Room for texts as long as the longest of the training rows: of more than three bytes a token, most are not.

    `Write.roomy` counts tokens, once the model is known.
    """
    longest = max((len(value.encode()) for value in values if isinstance(value, str)), default=0)
    return Writing(tokens=min(MOST, longest // 3 + MORE)) if longest else Writing()


def _weights(target: Target, values: Sequence[Any], class_weights: ClassWeights) -> tuple[float, ...] | None:
    match class_weights:
        case None:
            return None
        case "balanced":
            counts = Counter(value for value in values if value is not None)
            total, classes = sum(counts.values()), len(counts)
            return tuple(total / (classes * counts[label]) if counts[label] else 1.0 for label in target.labels)
        case _:
            unknown = sorted(set(class_weights) - set(target.labels))
            if unknown:
                raise PlanError(
                    f"class weights name {unknown[0]!r}, which is not a label of {target.name!r}.",
                    hint=f"The labels are: {', '.join(target.labels)}.",
                )
            return tuple(float(class_weights.get(label, 1.0)) for label in target.labels)


def _unseen(target: Target, values: Sequence[Any]) -> tuple[str, ...]:
    """Labels that no training row has; none where the rows are not known."""
    seen = {label for value in values if value is not None for label in value}
    return tuple(label for label in target.labels if label not in seen) if len(values) else ()


def _mean_and_scale(target: Target, values: Sequence[Any]) -> tuple[float, float]:
    import numpy as np

    known = np.array([float(value) for value in values if value is not None])
    if not np.isfinite(known).all():
        raise DataError(
            f"target {target.name!r} holds a number that is not finite.", hint="Run `uke check` on the data set."
        )
    if not len(known):
        return 0.0, 1.0
    return float(known.mean()), float(known.std()) or 1.0


def dump(task: AnyTask) -> dict[str, Any]:
    """A task as plain JSON data, for bundles.

    >>> dump(Regress("stars", mean=3.0))
    {'kind': 'regress', 'name': 'stars', 'mean': 3.0, 'scale': 1.0, 'metric': 'r2', 'decoding': {}}
    """
    return {"kind": task.kind, **asdict(task)}


def load(plain: Mapping[str, Any]) -> AnyTask:
    """The task that `dump` wrote.

    Raises
    ------
    KeyError, TypeError
        If the data is not a task's.
    """
    options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    kind, decoding = options.pop("kind"), options.pop("decoding")
    match kind:
        case "classify":
            return Classify(**options, decoding=Temperature(**decoding))
        case "multilabel":
            return MultiLabel(**options, decoding=Thresholds(tuple(decoding["values"]), decoding.get("value", 1.0)))
        case "regress":
            return Regress(**options, decoding=Identity(**decoding))
        case "detect":
            return Detect(**options, decoding=Suppression(**decoding))
        case "translate" | "summarise" | "generate":
            return Write(kind, **options, decoding=Writing(**decoding))
    raise KeyError(kind)
