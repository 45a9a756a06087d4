"""What the page says: a record as the flat, formatted values that the template lays out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ukulele.errors import RunError
from ukulele.report import boxes, ladder, looked, phrases, quality, rows, scarcity, seeds, texts, together
from ukulele.report.phrases import table, tables

FORMAT = 1
NEEDED = ("run", "task", "data", "model", "test")
SEVERITIES = {"error": "Error", "warning": "Warning", "info": "Note"}


def view(record: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template shows.

    Raises
    ------
    RunError
        If a needed block is missing or the record's format is newer than this version.
    """
    _check(record)
    return {
        "ukulele": phrases.plain(record.get("ukulele")),
        "run": _run(record),
        "findings": _findings(record),
        "suspects": looked.suspects(record),
        "sure": looked.sure(record),
        "copies": looked.copies(record),
        "layers": quality.layers(record),
        "grouped": quality.grouped(record),
        "learning": scarcity.learning(record),
        "ladder": ladder.section(record),
        "seeds": seeds.section(record),
        "repeat": _repeat(record),
        "sources": _sources(record),
        **(_several(record) if together.several(record) else _single(record)),
    }


def _single(record: Mapping[str, Any]) -> dict[str, Any]:
    task = table(record["task"])
    block = task | table(record)
    names = rows.metric_names(block)
    return {
        "several": None,
        "boxes": boxes.detection(block),
        "texts": texts.written(record),
        "hero": _hero(record),
        "quality": quality.section(quality.candidates(record), block),
        "cost": quality.cost(record, names[0] if names else ""),
        "training": quality.training(record, phrases.metric(task.get("metric", "score")), {}),
        "particulars": rows.particulars({} if block.get("kind") == "detect" else block),
        "data": rows.data(record, [("Asked", f"{phrases.plain(task.get('name'))} ({rows.asked(task)})")]),
    }


def _several(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "several": together.view(record),
        "boxes": None,
        "texts": None,
        "hero": together.hero(record) | {"figures": together.figures(record) + _figures(record)},
        "quality": None,
        "cost": quality.cost(record, ""),
        "training": quality.training(record, "all tasks", together.metrics(record)),
        "particulars": rows.particulars({}),
        "data": rows.data(record, together.asks(record)),
    }


def _check(record: Mapping[str, Any]) -> None:
    form = record.get("format", FORMAT)
    if not isinstance(form, int) or form > FORMAT:
        raise RunError(
            f"the record has format {form!r}; this version reads format {FORMAT}.",
            hint="Update ukulele: pip install -U ukulele",
        )
    needed = [name for name in NEEDED if name != "task" or not together.several(record)]
    missing = [name for name in needed if not isinstance(record.get(name), Mapping)]
    if missing:
        raise RunError(
            f"the record lacks {', '.join(missing)}.", hint="The run may have been stopped: uke fit … --resume RUN"
        )


def _run(record: Mapping[str, Any]) -> dict[str, str]:
    run, data, model = table(record["run"]), table(record["data"]), table(record["model"])
    started = phrases.plain(run.get("started"))
    return {
        "name": phrases.plain(run.get("name")),
        "started": re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*", r"\1 \2", started),
        "data": phrases.plain(data.get("name")),
        "model": phrases.plain(model.get("name")),
    }


def _hero(record: Mapping[str, Any]) -> dict[str, Any]:
    verdict = quality.judged(table(record.get("verdict")), "Transfer")
    idle = next((one for one in tables(record.get("findings")) if one.get("code") == "nothing-to-learn"), None)
    gain = quality.judged(table(record.get("gain_over_probe")), "Transfer")
    untouched = quality.judged(table(record.get("gain_over_untouched")), "Fine-tuning")
    none = {"outcome": "none", "sign": "", "word": "", "sentence": "", "difference": None}
    said = verdict or none | {"sentence": phrases.plain(idle.get("message")) if idle else _no_verdict(record)}
    worse = untouched is not None and untouched["outcome"] == "hurt"
    if worse:
        said |= {"outcome": "hurt", "sign": phrases.OUTCOMES["hurt"][0], "word": "Worse than untouched"}
    more = {"gain": gain, "untouched": untouched, "worse": worse}
    return said | more | {"figures": _score(record) + _figures(record)}


def _no_verdict(record: Mapping[str, Any]) -> str:
    test = table(record["test"])
    name = _metric(record)
    value = phrases.number(table(test.get(name)).get("value"))
    chosen = next((c for c in tables(record.get("candidates")) if c.get("name") == record.get("chosen")), {})
    why = "No control was trained, so whether the transfer helped is not known."
    if chosen.get("pretrained") is False:
        why = "It was trained from scratch: nothing was transferred."
    return f"{phrases.capital(phrases.metric(name))} is {value} on the test rows. {why}"


def _metric(record: Mapping[str, Any]) -> str:
    test = table(record["test"])
    asked = str(table(record["task"]).get("metric") or "score")
    return asked if asked in test else next(iter(test), asked)


def _score(record: Mapping[str, Any]) -> list[dict[str, str]]:
    name = _metric(record)
    score = table(table(record["test"]).get(name))
    between = phrases.interval(score)
    note = f"{between}, {phrases.count(score.get('n'))} rows" if between else ""
    return [{"name": f"Test {phrases.metric(name)}", "value": phrases.number(score.get("value")), "note": note}]


def _figures(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """The numbers under the verdict that every run has."""
    cost = table(record.get("cost"))
    figures = []
    trained, total = cost.get("trained_parameters"), cost.get("total_parameters")
    speed = phrases.real(table(record.get("prediction")).get("rows_per_second"))
    if phrases.real(cost.get("seconds")) is not None:
        whole = table(record["run"]).get("seconds")
        note = f"whole run {phrases.duration(whole)}" if phrases.real(whole) is not None else ""
        figures.append({"name": "Time", "value": phrases.duration(cost["seconds"]), "note": note})
    if phrases.real(trained) is not None:
        note = f"{phrases.share(trained, total)} of {phrases.large(total)}"
        figures.append({"name": "Trained parameters", "value": phrases.large(trained), "note": note})
    if phrases.real(cost.get("peak_memory_bytes")) is not None:
        figures.append({"name": "Peak memory", "value": phrases.size(cost["peak_memory_bytes"]), "note": ""})
    if speed is not None:
        figures.append({"name": "Prediction", "value": phrases.large(speed), "note": "rows a second"})
    return figures


def _findings(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    order = list(SEVERITIES)
    found = [
        {
            "severity": f["severity"] if str(f.get("severity")) in SEVERITIES else "info",
            "word": SEVERITIES.get(str(f.get("severity")), "Note"),
            "code": phrases.plain(f.get("code")),
            "message": phrases.plain(f.get("message")),
            "advice": str(f.get("advice") or ""),
            "evidence": [
                (name, phrases.short(phrases.plain(value))) for name, value in table(f.get("evidence")).items()
            ],
        }
        for f in tables(record.get("findings"))
    ]
    return sorted(found, key=lambda f: order.index(str(f["severity"])))


def _repeat(record: Mapping[str, Any]) -> dict[str, Any]:
    run, plan = table(record["run"]), table(record.get("plan"))
    machine = table(run.get("machine"))
    facts = [
        ("Folder", phrases.plain(run.get("folder"))),
        ("Seed", phrases.plain(run.get("seed"))),
        *((f"Hash of the {name}", phrases.plain(value)) for name, value in table(run.get("hashes")).items()),
        ("Processor", phrases.plain(machine.get("cpu"))),
        ("Cores", phrases.plain(machine.get("cores"))),
        ("Memory", phrases.size(machine.get("memory_bytes"))),
        ("Device", phrases.plain(machine.get("device"))),
        ("Precision", phrases.plain(machine.get("precision"))),
    ]
    return {
        "command": str(run.get("command") or ""),
        "facts": [(name, value) for name, value in facts if value != phrases.ABSENT],
        "versions": [(name, phrases.plain(value)) for name, value in table(run.get("versions")).items()],
        "plan": str(plan.get("text") or ""),
    }


def _sources(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = table(record["model"])
    facts = [
        ("Model", phrases.plain(model.get("name"))),
        ("Origin", phrases.plain(model.get("origin"))),
        ("Source task", phrases.plain(model.get("source_task"))),
        ("Licence", phrases.plain(model.get("licence"))),
        ("Parameters", phrases.large(model.get("parameters"))),
        ("Stages", phrases.plain(model.get("stages"))),
        *(("Made from", phrases.plain(parent)) for parent in phrases.listed(model.get("parents"))),
    ]
    return [(name, value) for name, value in facts if value not in (phrases.ABSENT, "")]
