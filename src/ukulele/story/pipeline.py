"""The story, top to bottom: from a labelled data set to a proven model. A newcomer can read this page first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ukulele import __version__, balance, data, diagnose, features, report, strategies
from ukulele.config import FitOptions, options_from
from ukulele.errors import BadRowsError, RunError, UkuleleError
from ukulele.events import Event, Hear, Judged, Said, Stepped
from ukulele.loop.engine import Engine, Tracker, choose_device, choose_precision, refuse_absent
from ukulele.models import quantised
from ukulele.runs import NextFolder, RunFolder, read_manifest
from ukulele.story.asked import make_tasks, refuse_for_one, refuse_for_texts, spelled, taps_of, windowed
from ukulele.story.candidates import is_made, model_name, planned, rivals, survey, wishes_of
from ukulele.story.choice import with_model
from ukulele.story.ladder import Climb
from ukulele.story.record import Story, make_record
from ukulele.story.unread import refuse_unread
from ukulele.story.verdicts import comparisons, far, findings, from_source, gain, looked_at, untouched, verdict
from ukulele.strategies.controls import UNTOUCHED
from ukulele.tools.files import write_json
from ukulele.tools.threads import helpers
from ukulele.trial import learning, retention
from ukulele.trial.attempt import attempt
from ukulele.trial.certainty import certain, told
from ukulele.trial.context import Context, Track, is_still
from ukulele.trial.gathering import gather
from ukulele.trial.grouping import regroup
from ukulele.trial.layers import choose_layer
from ukulele.trial.outcome import Outcome
from ukulele.trial.pack import pack
from ukulele.trial.rates import tuned_rate, tuned_scratch
from ukulele.trial.repeats import repeat
from ukulele.trial.together import alone, compare, gained
from ukulele.trial.weighing import tuned_weights
from ukulele.types import Dataset


def fit(
    source: Any, options: FitOptions, place: Path | NextFolder, hear: Hear, *, resume: bool = False, command: str = ""
) -> Path:
    """Fit, prove and pack a model; the run's folder.

    Parameters
    ----------
    source
        A path, a hub id, a DataFrame or a list of rows.
    options
        What was asked. When resuming, those of the run are used instead.
    place
        The folder where the run is kept.
    hear
        Is told of everything as it happens.
    resume
        Go on with the run in `place`.
    command
        What the user typed, for the report.

    Raises
    ------
    UkuleleError
        Whatever is wrong with the data, the model, the plan or the disk, said in the user's words.
    """
    decided: Mapping[str, Any] = {}
    if resume and isinstance(place, Path):
        begun = read_manifest(place)
        options, decided = options_from(begun["options"]), begun["decisions"]
    device = choose_device(options.device)
    precision = decided.get("precision") or choose_precision(options.precision, device)
    engine = Engine(device, precision, options.save_every)
    folder = engine.agree(place.take() if isinstance(place, NextFolder) and engine.main else place)
    run = (
        RunFolder.resume(folder, writes=engine.main)
        if resume
        else RunFolder.create(folder, options.plain(), command, writes=engine.main)
    )
    try:
        return _fit(source, options, run, engine, hear)
    except UkuleleError as error:
        if not resume:
            run.discard()
        if isinstance(error, BadRowsError) and engine.main:
            raise data.listed_in(folder / "quarantine.csv", error) from error
        raise
    finally:
        run.close()


def _fit(source: Any, options: FitOptions, run: RunFolder, engine: Engine, hear: Hear) -> Path:
    tell = _telling(run, hear) if engine.main else run.log
    if options.threads:
        torch.set_num_threads(options.threads)

    balance.promises(options.balance)  # an unknown name is refused now
    refuse_absent(options.track)
    if options.bits is not None:
        quantised.refuse_absent(options.bits, engine.device)
    dataset = read(source, options, run, tell)
    refuse_for_one(options, dataset)
    refuse_unread(options, dataset)
    refuse_for_texts(options, dataset)
    dtype = engine.agree(run.decide("precision", lambda: choose_precision(options.precision, engine.device)))
    _same_machine(run, engine, tell)
    cache = features.Cache(options.cache_folder, int(options.cache_budget * 2**30))
    asked, taps = make_tasks(dataset, options), taps_of(dataset, options)
    with tracking(run, options, engine) as track:
        context = Context(options, dataset, asked, cache, engine, dtype, run, tell, taps, track)
        return _proven(spelled(windowed(with_model(context))))


def _proven(context: Context) -> Path:
    """Candidates fitted, one chosen and proved, and all of it written down."""
    earlier = retention.kept(context)
    rungs, climb = ladder(context)
    chosen = choose(rungs, context)
    shown = [*rungs, *prove(chosen, climb)]
    repeats = repeat(chosen, shown, context)
    parts, fitted = regroup(chosen, shown, context, climb.fitted)
    shown += fitted
    context.hear(Said("scoring on the test rows"))
    over_probe, over_untouched = (gain(shown, chosen, repeats, name) for name in ("probe", UNTOUCHED))
    judged = verdict(shown, chosen, repeats)
    story = Story(context, shown, chosen, parts, judged, over_probe, repeats, over_untouched)
    record = _recorded(story, rungs, earlier)
    sure = {id(one): certain(one, context) for one in parts.values()}
    record |= told(parts, sure)
    if rungs[0].held:  # its features, in each process: all of them decide how
        rungs[0].feed.pooled("train")
    if context.engine.main:
        folder = context.run.path
        rate, write = pack(folder / "bundle", parts, context, record, sure)
        record["prediction"] = {"rows_per_second": rate}
        with helpers() as beside:  # writing waits for the disk
            curve = beside.submit(learning.of_probe, rungs[0], context) if rungs[0].candidate.pretrained else None
            write()
            record["learning_curve"] = curve.result() if curve else {}
        write_json(folder / "record.json", record)
        report.write(record, folder / "report.html")
    context.engine.wait()
    return context.run.path


def _recorded(story: Story, rungs: Sequence[Outcome], earlier: Dataset | None) -> dict[str, Any]:
    """The record of a run: what was reached, how it compares, and what there is to say of rows and of training."""
    context, chosen = story.context, story.chosen
    helped = chosen is not rungs[0] and story.verdict is not None and story.verdict.outcome == "helped"
    looked = looked_at(rungs, chosen, context, doubt=not helped)
    kept = None if earlier is None else retention.retained(earlier, chosen, context)
    source = from_source(context)
    found = untouched(story.untouched, chosen)
    found += [*findings(context, chosen, rungs), *far(context, looked), *diagnose.from_source(source), *looked.findings]
    found += [kept.finding] if kept else []
    record = make_record(story, found) | looked.blocks | ({"retention": kept.plain()} if kept else {})
    record["source"] = source
    compared = comparisons(story.shown, chosen, story.repeats)
    compared += [story.untouched] if story.untouched is not None else []
    record["comparisons"] = [asdict(one) for one in compared]
    if looked.unlearnt and record["verdict"] is not None:
        record["verdict"] |= {"outcome": "inconclusive", "sentence": looked.findings[0].message}
    return record


# ---------------------------------------------------------------- read


def read(source: Any, options: FitOptions, run: RunFolder, hear: Hear) -> Dataset:
    """Read, check and split the data; what was inferred is said, what was set aside is listed."""
    dataset = data.read(source, options.reading, options.cache_folder)
    for note in dataset.notes:
        hear(Said(note))
    for finding in dataset.findings:
        hear(Said(finding.message, "info" if finding.severity == "info" else "warning"))
    if options.slice is not None:
        dataset.splits["test"].take([]).column(options.slice)  # refused now rather than after training
    data.write_quarantine(run.path / "quarantine.csv", dataset.quarantine)
    now = features.data_key(dataset)
    if run.decide("data", lambda: now) != now:
        raise RunError(
            f"the data are not those that {run.path} was begun with.",
            hint="Begin a new run, or bring the old data back.",
        )
    return dataset


# ---------------------------------------------------------------- the ladder


def ladder(context: Context) -> tuple[list[Outcome], Climb]:
    """The candidates that were asked for, each fitted: the probe first, then the dearer strategy."""
    began = time.perf_counter()
    facts = survey(model_name(context), context)
    spent = {"load": time.perf_counter() - began}  # loading and choosing belong to the first
    outcomes: list[Outcome] = []
    if context.writes and context.options.model is None:
        said = "a small model with a vocabulary of its own, trained from scratch (change it with --model)"
        context.hear(Said(f"Model: {model_name(context)}, {said}."))
    if context.boxes:
        labels = sum(len(target.labels) for target in context.data.targets)
        text = f"the model knows {facts.shared} of the data's {labels} classes by name; the head is rebuilt for them"
        kept = facts.shared and context.options.head == "keep"
        context.hear(Said(text + (", the rows of those it knows are kept" if kept else "")))
    if is_made(context) and context.options.model is not None:
        context.hear(Said(f"{model_name(context)} has no weights to transfer: it is trained from scratch."))
    rungs = planned(facts, context)
    proof = any(not is_still(rival.plan) and rival.name == "scratch" for rival in rivals(facts, context))
    proof = proof or (len(context.tasks) > 1 and context.options.controls != "none")  # each task alone
    climb = Climb(context, facts, wishes_of(context.options, context.data), proof)
    for number, asked in enumerate(rungs):
        cuts = (strategies.first_stored(later.plan, facts) for later in rungs[number + 1 :] if later.plan.views)
        ahead = next((cut for cut in cuts if cut < len(facts.stages)), 0)  # of the next one that trains a stage
        rung = climb.step(asked, ahead)
        if rung is None:
            continue
        candidate = tuned_scratch(rung, context) if rung.name == "scratch" else rung
        candidate = tuned_weights(tuned_rate(candidate, context), context)
        if rung.name == "stages":
            began = time.perf_counter()
            candidate = gather(rung, context)
            spent["choose features"] = time.perf_counter() - began
        if rung.name == "probe":
            candidate = replace(rung, stop=choose_layer(rung, context, ahead, spent))
        context.hear(Said(f"{candidate.name}: {strategies.in_words(candidate.plan, facts, candidate.stop)}"))
        outcomes.append(attempt(candidate, context, spent, ahead, climb.until))
        climb.reached(outcomes[-1])
        spent = {}
    return outcomes, climb


def choose(rungs: Sequence[Outcome], context: Context) -> Outcome:
    """The dearest rung that was asked for; for `auto` the dearest that gains on validation."""
    best = rungs[0]
    for rung in rungs[1:]:
        gain = compare(rung, best, "validation")
        text = f"{gained(gain)} over the {best.candidate.name} on validation"
        if context.options.strategy == "auto" and not gain.difference.value > 0:
            rung.why = f"{text}: not worth its cost"
        else:
            rung.why, best = text, rung
        context.hear(Said(f"{rung.candidate.name}: {rung.why}"))
    return best


# ---------------------------------------------------------------- the proof


def prove(chosen: Outcome, climb: Climb) -> list[Outcome]:
    """The controls that were asked for, each fitted as the rungs were; of several tasks each alone, too."""
    context = climb.context
    singles = alone(chosen) if context.options.controls != "none" else []
    fitted = [climb.fitted(single) for single in singles]
    fitted += [climb.fitted(rival) for rival in rivals(survey(chosen.candidate.model, context), context)]
    return [one for one in fitted if one is not None]


# ---------------------------------------------------------------- around it


def _telling(run: RunFolder, hear: Hear) -> Hear:
    def tell(event: Event) -> None:
        run.log(event)
        hear(event)

    return tell


@contextmanager
def tracking(run: RunFolder, options: FitOptions, engine: Engine) -> Iterator[Track]:
    """The trackers that were asked for, flushed at the end, however the run ends."""
    if not (options.track and engine.main):
        yield lambda _candidate, _event: None
        return
    tracker = Tracker(options.track, str(run.path), {"run": run.path.name}, run.logged(Stepped, Judged))
    try:
        yield tracker.hear
    finally:
        tracker.close()


def _same_machine(run: RunFolder, engine: Engine, hear: Hear) -> None:
    """Warn where a run goes on elsewhere than it was begun: its bits may come out otherwise."""
    import platform

    now = {
        "threads": torch.get_num_threads(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": engine.device.partition(":")[0],
        "torch": torch.__version__,
        "ukulele": __version__,
        **{name: version(name) for name in ("transformers", "timm", "tokenizers")},
    }
    then = run.decide("machine", lambda: now)
    changed = [f"{what} {then[what]} is now {value}" for what, value in now.items() if then.get(what, value) != value]
    if changed:
        hear(
            Said(
                f"the run goes on under other conditions, so its last digits may differ: {', '.join(changed)}",
                "warning",
            )
        )
