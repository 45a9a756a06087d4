"""What is said of the chosen candidate: verdicts, comparisons and findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ukulele import diagnose, evaluate
from ukulele.models import chunkable, counting, is_bundle, is_pretrained
from ukulele.story.candidates import model_name
from ukulele.story.drawn import look_at_boxes
from ukulele.story.record import slicing
from ukulele.story.scrutiny import Scrutiny, scrutinise
from ukulele.trial.context import Context
from ukulele.trial.evidence import clearly_best, look
from ukulele.trial.origin import origin
from ukulele.trial.outcome import SUMMED, Outcome
from ukulele.trial.repeats import Repeats
from ukulele.trial.together import best_rival, compare
from ukulele.types import WRITTEN, Estimate, Finding, Verdict

KNOWN, DETECTED = SUMMED, 500  # rows of a split that tell whether they are known by heart; pictures with boxes


def looked_at(rungs: Sequence[Outcome], chosen: Outcome, context: Context, *, doubt: bool) -> Scrutiny:
    """What the answers say of single rows, or of single boxes."""
    if context.boxes:
        return look_at_boxes(chosen, rungs, context)
    return scrutinise(rungs[0], context, doubt=doubt)


def verdict(shown: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None) -> Verdict | None:
    """Against the best control without pre-training, picked on validation, on the test rows."""
    if len(chosen.tasks) > 1:  # then each task has a verdict
        return None
    rival = best_rival(shown, chosen, next(iter(chosen.tasks)))
    if rival is None:
        return None
    return next(one for one in comparisons(shown, chosen, repeats) if one.against == rival.candidate.name)


def comparisons(shown: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None) -> list[Verdict]:
    """Of a single task, the chosen one against every control without pre-training, corrected for their number."""
    if len(chosen.tasks) > 1:
        return []
    rivals = [one for one in shown if not one.candidate.pretrained and one is not chosen]
    compared = [compare(chosen, one, "test") if repeats is None else repeats.compare(one) for one in rivals]
    return evaluate.holm(compared)


def gain(shown: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None, over: str = "probe") -> Verdict | None:
    """Against the probe, or the untouched model, where there is one and another was chosen, on the test rows."""
    other = next((one for one in shown if one.candidate.name == over), None)
    if other is None or other is chosen or len(chosen.tasks) > 1:
        return None
    return compare(chosen, other, "test") if repeats is None else repeats.compare(other)


def findings(context: Context, chosen: Outcome, rungs: Sequence[Outcome]) -> list[Finding]:
    """What the data, the training and its answers give to say."""
    kinds = {task.kind for task in chosen.tasks.values()}
    found = [*context.data.findings, *diagnose.training(chosen.history, kinds), *diagnose.lost(chosen.history)]
    what = "training texts and answers" if context.writes else "training texts"
    lengths = counting.whole(chosen.model, chosen.feed.lengths("train"), chosen.feed.tables["train"].rows)
    found += diagnose.lengths(chosen.model.limit, lengths, what, chunks=chunkable(chosen.model.recipe))
    if chosen.cut or chosen.still:
        found += diagnose.frozen_tokens(context.options.new_tokens)
    probe = rungs[0]
    if chosen is not probe and compare(chosen, probe, "validation").outcome == "hurt":
        found.append(diagnose.behind(chosen.candidate.name, probe.candidate.name, chosen.why))
    for name in [target.name for target in context.data.targets] if context.options.slice else []:
        sliced = slicing(context, name)
        several = len(context.data.targets) > 1
        found += diagnose.slices_left_out(evaluate.left_out(*sliced) if sliced else None, name * several)
    found += diagnose.beyond_budget(context.run.manifest.get("ladder", []), context.options.seconds)
    if context.cache.damaged:
        found.append(diagnose.damaged_cache(len(context.cache.damaged)))
    for name, task in chosen.tasks.items():
        if task.kind in WRITTEN:  # its training rows are not written anew
            continue
        most = DETECTED if task.kind == "detect" else KNOWN
        train, validation = (
            evaluate.decisive(task, chosen.table(s, name, most), chosen.groups(s, name, most))
            for s in ("train", "validation")
        )
        if train and validation:
            metric = task.metrics[0].name
            what = metric if len(chosen.tasks) == 1 else f"{name}: {metric}"
            found += diagnose.gap(what, train, validation, _beside(probe, chosen, name))
    return found


def untouched(verdict: Verdict | None, chosen: Outcome) -> list[Finding]:
    """Whether training was in vain: the model as it was loaded answers as well, or better."""
    if verdict is None:
        return []
    name = chosen.candidate.model
    answers = is_pretrained(name) or is_bundle(Path(name))  # others have no head before they are fitted
    return diagnose.untouched(chosen.candidate.name, verdict, f"uke predict {name} …" if answers else "")


def far(context: Context, looked: Scrutiny) -> list[Finding]:
    """Whether an inner stage serves the task clearly better than the last, where there is anything to learn."""
    layers = {layer["stage"]: layer for layer in context.run.manifest.get("layers", [])}
    last = next(reversed(layers), "")
    best = clearly_best(layers, last) if layers and not looked.unlearnt else None
    return [] if best is None else [diagnose.far_domain(best, layers[best], last, layers[last])]


def from_source(context: Context) -> dict[str, Any] | None:
    """How far the training rows lie from those that a bundle was trained on; None where it was not from a bundle."""
    name = model_name(context)
    if not context.taps or context.boxes or context.writes or not is_bundle(Path(name)):
        return None
    seen = look(name, context)  # which is stored
    found = origin(name, seen.stages[seen.last].float(), context.options.seed)
    return None if found is None else asdict(found)


def _beside(probe: Outcome, chosen: Outcome, name: str) -> tuple[Estimate, Estimate] | None:
    """What the linear probe reaches on training and validation rows, where another candidate was chosen."""
    if probe is chosen or not probe.still:
        return None
    train, validation = (
        evaluate.decisive(probe.tasks[name], probe.table(s, name, KNOWN), probe.groups(s, name, KNOWN))
        for s in ("train", "validation")
    )
    return (train, validation) if train and validation else None
