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

from ukulele import (
    __version__,
    balance,
    data,
    diagnose,
    evaluate,
    features,
    learning,
    models,
    report,
    retention,
    strategies,
    tasks,
)
from ukulele.attempt import Context, Outcome, Track, attempt, facts_of
from ukulele.certainty import certain, told
from ukulele.config import FitOptions, options_from
from ukulele.drawn import look_at_boxes
from ukulele.engine import Engine, Tracker, choose_device, choose_precision, refuse_absent
from ukulele.errors import PlanError, RunError, UkuleleError
from ukulele.events import Event, Hear, Judged, Said, Stepped
from ukulele.gathering import gather, gathers
from ukulele.ladder import Climb
from ukulele.layers import best_layer
from ukulele.pack import pack
from ukulele.rates import tuned_rate
from ukulele.record import Story, make_record
from ukulele.repeats import Repeats, repeat
from ukulele.runs import RunFolder, read_manifest
from ukulele.scrutiny import Scrutiny, scrutinise
from ukulele.strategies import Facts, Wishes, controls, scratch
from ukulele.together import alone, best_rival, compare, gained, regroup
from ukulele.tools.files import write_json
from ukulele.truth import Truth
from ukulele.types import WRITTEN, Candidate, Dataset, Estimate, Finding, Model, Task, Verdict
from ukulele.unread import refuse_unread
from ukulele.weighing import tuned_weights

DETECTED = 500  # pictures of a split that tell whether a detector knows its training rows by heart
TAPPED_ROWS = 20_000  # up to here every stage's summary of every row is stored


def fit(source: Any, options: FitOptions, folder: Path, hear: Hear, *, resume: bool = False, command: str = "") -> Path:
    """Fit, prove and pack a model; the run's folder.

    Parameters
    ----------
    source
        A path, a hub id, a DataFrame or a list of rows.
    options
        What was asked. When resuming, those of the run are used instead.
    folder
        Where the run is kept.
    hear
        Is told of everything as it happens.
    resume
        Go on with the run in `folder`.
    command
        What the user typed, for the report.

    Raises
    ------
    UkuleleError
        Whatever is wrong with the data, the model, the plan or the disk, said in the user's words.
    """
    decided: Mapping[str, Any] = {}
    if resume:
        begun = read_manifest(folder)
        options, decided = options_from(begun["options"]), begun["decisions"]
    device = choose_device(options.device)
    precision = decided.get("precision") or choose_precision(options.precision, device)
    engine = Engine(device, precision, options.save_every)
    folder = engine.agree(folder)
    run = (
        RunFolder.resume(folder, writes=engine.main)
        if resume
        else RunFolder.create(folder, options.plain(), command, writes=engine.main)
    )
    try:
        return _fit(source, options, run, engine, hear)
    except UkuleleError:
        if not resume:
            run.discard()
        raise
    finally:
        run.close()


def _fit(source: Any, options: FitOptions, run: RunFolder, engine: Engine, hear: Hear) -> Path:
    tell = _telling(run, hear) if engine.main else run.log
    if options.threads:
        torch.set_num_threads(options.threads)

    balance.promises(options.balance)  # an unknown name is refused now
    refuse_absent(options.track)
    dataset = read(source, options, run, tell)
    refuse_for_one(options, dataset)
    refuse_unread(options, dataset)
    refuse_for_texts(options, dataset)
    dtype = engine.agree(run.decide("precision", lambda: choose_precision(options.precision, engine.device)))
    _same_machine(run, engine, tell)
    cache = features.Cache(options.cache_folder, int(options.cache_budget * 2**30))
    asked, taps = make_tasks(dataset, options), taps_of(dataset, options)
    with tracking(run, options, engine) as track:
        return _proven(windowed(Context(options, dataset, asked, cache, engine, dtype, run, tell, taps, track)))


def _proven(context: Context) -> Path:
    """Candidates fitted, one chosen and proved, and all of it written down."""
    run, engine, tell = context.run, context.engine, context.hear
    earlier = retention.kept(context)
    rungs = ladder(context)
    chosen = choose(rungs, context)
    repeats = repeat(chosen, context)
    shown = [*rungs, *prove(chosen, context)]
    parts, fitted = regroup(chosen, shown, context)
    shown += fitted
    tell(Said("scoring on the test rows"))
    story = Story(
        context, shown, chosen, parts, _verdict(shown, chosen, repeats), _gain(rungs, chosen, repeats), repeats
    )
    helped = chosen is not rungs[0] and story.verdict is not None and story.verdict.outcome == "helped"
    looked = _looked_at(rungs, chosen, context, doubt=not helped)
    kept = None if earlier is None else retention.retained(earlier, chosen, context)
    findings = [*_findings(context, chosen, rungs), *looked.findings, *([kept.finding] if kept else [])]
    record = make_record(story, findings) | looked.blocks | ({"retention": kept.plain()} if kept else {})
    record["comparisons"] = [asdict(one) for one in _comparisons(shown, chosen, repeats)]
    if looked.unlearnt and record["verdict"] is not None:
        record["verdict"] |= {"outcome": "inconclusive", "sentence": looked.findings[0].message}
    sure = {id(one): certain(one, context) for one in parts.values()}
    record |= told(parts, sure)
    if engine.main:
        record["learning_curve"] = learning.of_probe(rungs[0], context) if rungs[0].candidate.pretrained else {}
        record["prediction"] = {"rows_per_second": pack(run.path / "bundle", parts, context, record, sure)}
        write_json(run.path / "record.json", record)
        report.write(record, run.path / "report.html")
    engine.wait()
    return run.path


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


def windowed(context: Context) -> Context:
    """Plain text in rows that are as long as the model takes; other data as they are."""
    if not any(target.free for target in context.data.targets):
        return context
    name = model_name(context)
    model = survey_model(name, context)
    if model.windows is None or model.limit is None:
        raise PlanError(f"{name} does not continue texts.", hint="Name a decoder, such as config:gpt2-tiny.")
    cut = data.windows(context.data, model.windows, model.limit)
    if context.options.replay is not None and (other := retention.kept(context)) is not None:
        again = data.windows(other, model.windows, model.limit)
        cut = data.replayed(cut, again, context.options.replay, context.options.seed)
    for note in cut.notes[len(context.data.notes) :]:
        context.hear(Said(note))
    return replace(context, data=cut, vocabulary=model.assets)


def refuse_for_one(options: FitOptions, dataset: Dataset) -> None:
    """Options that make sense for several tasks alone.

    Raises
    ------
    PlanError
        If one was given for a single task.
    """
    if len(dataset.targets) > 1:
        return
    given = {
        "--group auto": options.group == "auto",
        "--private-stages": options.private_stages > 0,
        "--adapters per-task": options.adapters != "shared",
        "--weights tuned": options.weights != "given",
        "--balance": options.balance != "first",
        "--sampling": options.sampling is not None,
        "--controls tasks": options.controls == "tasks",
    }
    wrong = [name for name, there in given.items() if there]
    if wrong:
        raise PlanError(
            f"{', '.join(wrong)}: for several tasks; this run has one, {dataset.targets[0].name!r}.",
            hint="Leave it out, or name several targets or sources.",
        )


def refuse_for_texts(options: FitOptions, dataset: Dataset) -> None:
    """What a run that writes texts cannot do, and what only such a run can.

    Raises
    ------
    PlanError
        If it was asked for.
    """
    written = [target for target in dataset.targets if target.kind in WRITTEN]
    if not written:
        if options.languages:
            raise PlanError("--languages: for --task translate.", hint="Leave it out.")
        return
    wrong = {
        "several tasks": len(dataset.targets) > 1,
        "several input columns": len(dataset.columns) > 1,
        "--long chunk": options.long == "chunk",
        f"--strategy {options.strategy}": options.strategy == "probe",
        f"--layer {options.layer}": options.layer != "auto",
    }
    if any(wrong.values()):
        raise PlanError(
            f"{', '.join(name for name, there in wrong.items() if there)}: not where a text is to be written.",
            hint="One input column, one target, and a strategy that trains: finetune, full, lora, dora or scratch.",
        )


def make_tasks(dataset: Dataset, options: FitOptions) -> dict[str, Task]:
    """What is asked, by name."""
    truth = Truth(dataset.splits["train"])
    return {t.name: _make_task(t.name, truth.values(t.name), dataset, options) for t in dataset.targets}


def _make_task(name: str, values: Sequence[Any], dataset: Dataset, options: FitOptions) -> Task:
    """What is asked of a target: class weights follow the metric, unless they are asked for."""
    target = next(t for t in dataset.targets if t.name == name)
    fair = options.metric in {"balanced_accuracy", "macro_f1"} and target.kind == "classify"
    weigh = options.class_weights == "balanced" or (options.class_weights == "auto" and fair)
    return tasks.make(target, values, options.metric, "balanced" if weigh else None)


# ---------------------------------------------------------------- the ladder


def ladder(context: Context) -> list[Outcome]:
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
        context.hear(Said(text + (", the rows of those it knows are kept" if facts.shared else "")))
    rungs = planned(facts, context)
    climb = Climb(context, facts, wishes_of(context.options, context.data))
    for number, asked in enumerate(rungs):
        cuts = (strategies.cut(later.plan, facts) for later in rungs[number + 1 :] if later.plan.views)
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
    return outcomes


def planned(facts: Facts, context: Context) -> list[Candidate]:
    """The rungs that were asked for, cheapest first, before a layer or a rate is chosen by measurement."""
    name, wishes = model_name(context), wishes_of(context.options, context.data)
    if context.options.strategy == "probe" and context.boxes:
        raise PlanError(
            "--strategy probe: a detector's head has no optimum that can be computed.",
            hint="To train the head alone: --freeze all.",
        )
    strategy, within = "scratch" if is_made(context) else context.options.strategy, bool(context.options.budget)
    wanted = strategies.rungs(strategy, facts.probes, choice=wishes.freeze == "auto", facts=facts if within else None)
    return [
        Candidate(strategy, name, strategies.make(strategy, facts, wishes), pretrained=strategy != "scratch")
        for strategy in wanted
        if strategy != "stages" or context.options.strategy == "stages" or gathers(context)
    ]


def model_name(context: Context) -> str:
    """The model that was asked for, or the default of the data's kind."""
    default = models.DETECTOR if context.boxes else models.DEFAULTS[context.writes or context.data.modality]
    return context.options.model or default


def is_made(context: Context) -> bool:
    """Whether the model is a mere configuration, which `auto` can only train from scratch."""
    return model_name(context).startswith("config:") and context.options.strategy == "auto"


def survey(name: str, context: Context) -> Facts:
    """The facts that strategies look at."""
    return facts_of(survey_model(name, context), context)


def survey_model(name: str, context: Context) -> Model:
    """The model before anything is trained."""
    plan, weights = strategies.Plan("survey", seed=context.options.seed), not is_made(context)
    weights = weights and context.options.strategy != "scratch"
    return context.load(Candidate("survey", name, plan, pretrained=weights))[0]


def wishes_of(options: FitOptions, dataset: Dataset) -> Wishes:
    """The options that strategies look at, and what the source itself says of its tasks."""
    o = options
    weights = tuple((target.name, target.weight) for target in dataset.targets if target.weight != 1)
    sampling = o.sampling or dataset.sampling or "proportional"
    return Wishes(
        o.frozen, o.epochs, o.given_rate, o.batch, o.views, o.patience, o.seed, o.balance, sampling, weights,
        o.rank, o.alpha, o.adapters == "per-task", o.layer_decay, o.penalty, o.wise_ft, o.soup,  # type: ignore[arg-type]
    )  # fmt: skip


def choose_layer(candidate: Candidate, context: Context, ahead: int, spent: dict[str, float]) -> str | None:
    """The stage whose summary the probe stands on: the last, or an inner one that is clearly better.

    The seconds of that are put into `spent`.
    """
    match context.options.layer:
        case "last":
            return None
        case "auto":
            return (
                context.decide("layer", lambda: best_layer(candidate, context, ahead, spent)) if context.taps else None
            )
        case stage:
            return stage


def taps_of(dataset: Dataset, options: FitOptions) -> bool:
    """Whether every stage's summary is stored: a layer is to be chosen, and the rows are few."""
    few = len(dataset.splits["train"]) <= TAPPED_ROWS
    probed = all(target.kind not in WRITTEN | {"detect"} for target in dataset.targets)
    return probed and options.layer == "auto" and few and options.strategy != "scratch"


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


def prove(chosen: Outcome, context: Context) -> list[Outcome]:
    """The controls that were asked for, each fitted as the rungs were; of several tasks each alone, too."""
    singles = alone(chosen) if context.options.controls != "none" else []
    outcomes = []
    for candidate in [*singles, *rivals(survey(chosen.candidate.model, context), context)]:
        context.hear(Said(f"control: {candidate.name}"))
        outcomes.append(
            attempt(tuned_scratch(candidate, context) if candidate.name == "scratch" else candidate, context)
        )
    return outcomes


def rivals(facts: Facts, context: Context) -> list[Candidate]:
    """The controls without pre-training that were asked for, cheapest first."""
    options, wishes = context.options, wishes_of(context.options, context.data)
    if options.controls in {"none", "tasks"}:
        return []
    if context.boxes:
        return [one for one in controls.detectors(facts, wishes, model_name(context)) if one.name != options.strategy]
    if context.writes:
        made = is_made(context) or options.strategy == "scratch"
        return list(controls.writers(facts, wishes, model_name(context), context.writes, made))
    candidates = list(controls.cheap(facts, wishes))
    if options.controls == "all" and options.strategy != "scratch":
        plan = scratch.plan(facts, replace(wishes, rate=None, freeze=None))
        candidates.append(Candidate("scratch", model_name(context), plan, "control", pretrained=False))
    return candidates


def tuned_scratch(candidate: Candidate, context: Context) -> Candidate:
    """The candidate at the rate that validation likes best after a third of the epochs."""
    if context.options.given_rate is not None and candidate.role == "rung":
        return candidate
    slow = context.boxes or context.writes
    if slow and context.options.controls != "all":  # three more of them would outlast all the rest
        return candidate

    kind = "boxes" if context.boxes else "writing" if context.writes else context.data.modality

    def search() -> float:
        scores = {}
        for plan in scratch.search(candidate.plan, kind):
            rate = plan.phases[0].groups[0].rate
            context.hear(Said(f"scratch: trying a rate of {rate:g}"))
            outcome = attempt(replace(candidate, name=f"{candidate.name}-{rate:g}", plan=plan), context)
            scores[rate] = outcome.feed.judge(outcome.cut).joint()[1]
        return max(scores, key=lambda rate: scores[rate])

    return replace(candidate, plan=scratch.at_rate(candidate.plan, context.decide("scratch rate", search)))


def _looked_at(rungs: Sequence[Outcome], chosen: Outcome, context: Context, *, doubt: bool) -> Scrutiny:
    """What the answers say of single rows, or of single boxes."""
    if context.boxes:
        return look_at_boxes(chosen, rungs, context)
    return scrutinise(rungs[0], context, doubt=doubt)


def _verdict(shown: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None) -> Verdict | None:
    """Against the best control without pre-training, picked on validation, on the test rows."""
    if not chosen.candidate.pretrained or len(chosen.tasks) > 1:  # then each task has a verdict
        return None
    rival = best_rival(shown, chosen, next(iter(chosen.tasks)))
    if rival is None:
        return None
    return next(one for one in _comparisons(shown, chosen, repeats) if one.against == rival.candidate.name)


def _comparisons(shown: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None) -> list[Verdict]:
    """Of a single task, the chosen one against every control without pre-training, corrected for their number."""
    if len(chosen.tasks) > 1:
        return []
    rivals = [one for one in shown if not one.candidate.pretrained and one is not chosen]
    compared = [compare(chosen, one, "test") if repeats is None else repeats.compare(one) for one in rivals]
    return evaluate.holm(compared)


def _gain(rungs: Sequence[Outcome], chosen: Outcome, repeats: Repeats | None) -> Verdict | None:
    probe = next((rung for rung in rungs if rung.candidate.name == "probe"), None)
    if probe is None or probe is chosen or len(chosen.tasks) > 1:
        return None
    return compare(chosen, probe, "test") if repeats is None else repeats.compare(probe)


# ---------------------------------------------------------------- around it


def _findings(context: Context, chosen: Outcome, rungs: Sequence[Outcome]) -> list[Finding]:
    found = [*context.data.findings, *diagnose.training(chosen.history)]
    what = "training texts, or their answers," if context.writes else "training texts"
    found += diagnose.lengths(chosen.model.limit, chosen.feed.tokens("train"), what, chunks=not context.writes)
    probe = rungs[0]
    if chosen is not probe and compare(chosen, probe, "validation").outcome == "hurt":
        found.append(diagnose.behind(chosen.candidate.name, probe.candidate.name, chosen.why))
    found += diagnose.beyond_budget(context.run.manifest.get("ladder", []), context.options.seconds)
    if context.cache.damaged:
        found.append(diagnose.damaged_cache(len(context.cache.damaged)))
    for name, task in chosen.tasks.items():
        if task.kind in WRITTEN:  # its training rows are not written anew
            continue
        most = DETECTED if task.kind == "detect" else None
        train, validation = (evaluate.decisive(task, chosen.table(s, name, most)) for s in ("train", "validation"))
        if train and validation:
            metric = task.metrics[0].name
            what = metric if len(chosen.tasks) == 1 else f"{name}: {metric}"
            found += diagnose.gap(what, train, validation, _beside(probe, chosen, name))
    return found


def _beside(probe: Outcome, chosen: Outcome, name: str) -> tuple[Estimate, Estimate] | None:
    """What the linear probe reaches on training and validation rows, where another candidate was chosen."""
    if probe is chosen or not probe.still:
        return None
    train, validation = (evaluate.decisive(probe.tasks[name], probe.table(s, name)) for s in ("train", "validation"))
    return (train, validation) if train and validation else None


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
