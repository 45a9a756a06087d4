"""What the page says: a record as the flat, formatted values that the template lays out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ukulele.errors import RunError
from ukulele.report import charts, phrases, quality, rows
from ukulele.report.phrases import table, tables

FORMAT = 1
NEEDED = ("run", "task", "data", "model", "test")
SIGNS = {"helped": ("▲", "Helped"), "hurt": ("▼", "Hurt"), "inconclusive": ("≈", "Inconclusive")}
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
        "hero": _hero(record),
        "quality": quality.section(record),
        "cost": quality.cost(record),
        "findings": _findings(record),
        "layers": quality.layers(record),
        "training": quality.training(record),
        "confusion": rows.confusion(record),
        "calibration": _calibration(record),
        "scatter": charts.scatter([p for p in phrases.listed(record.get("scatter")) if isinstance(p, list | tuple)]),
        "classes": rows.per_class(record),
        "mistakes": rows.mistakes(record),
        "slices": quality.slices(record),
        "data": rows.data(record),
        "repeat": _repeat(record),
        "sources": _sources(record),
    }


def _check(record: Mapping[str, Any]) -> None:
    form = record.get("format", FORMAT)
    if not isinstance(form, int) or form > FORMAT:
        raise RunError(
            f"the record has format {form!r}; this version reads format {FORMAT}.",
            hint="Update ukulele: pip install -U ukulele",
        )
    missing = [name for name in NEEDED if not isinstance(record.get(name), Mapping)]
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
    verdict, gain = table(record.get("verdict")), table(record.get("gain_over_probe"))
    outcome = str(verdict.get("outcome", ""))
    sign, word = SIGNS.get(outcome, ("", ""))
    return {
        "outcome": outcome if outcome in SIGNS else "none",
        "sign": sign,
        "word": word,
        "sentence": _sentence(verdict) if verdict else _no_verdict(record),
        "difference": _difference(verdict),
        "gain": {"sentence": _sentence(gain), "difference": _difference(gain)} if gain else None,
        "figures": _figures(record),
    }


def _sentence(verdict: Mapping[str, Any]) -> str:
    if verdict.get("sentence"):
        return str(verdict["sentence"])
    against, metric = phrases.plain(verdict.get("against")), phrases.metric(verdict.get("metric", ""))
    match verdict.get("outcome"):
        case "helped":
            return f"Transfer helped: {metric} is better than that of {against}."
        case "hurt":
            return f"Transfer hurt: {metric} is worse than that of {against}."
        case _:
            return f"Inconclusive: {metric} cannot be told apart from that of {against} on these test rows."


def _no_verdict(record: Mapping[str, Any]) -> str:
    test = table(record["test"])
    name = _metric(record)
    value = phrases.number(table(test.get(name)).get("value"))
    return (
        f"{capital(phrases.metric(name))} is {value} on the test rows. "
        "No control was trained, so whether the transfer helped is not known."
    )


def _metric(record: Mapping[str, Any]) -> str:
    test = table(record["test"])
    asked = str(table(record["task"]).get("metric") or "score")
    return asked if asked in test else next(iter(test), asked)


capital = phrases.capital


def _difference(verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    found = table(verdict.get("difference"))
    if phrases.real(found.get("value")) is None:
        return None
    return {
        "chart": charts.difference(found),
        "value": phrases.number(found["value"], signed=True),
        "interval": phrases.interval(found, signed=True),
        "metric": phrases.metric(verdict.get("metric", "")),
        "against": phrases.plain(verdict.get("against")),
        "n": phrases.count(found.get("n")),
        "method": phrases.plain(found.get("method", "paired comparison")),
    }


def _figures(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """The four numbers under the verdict."""
    name, cost = _metric(record), table(record.get("cost"))
    score = table(table(record["test"]).get(name))
    between = phrases.interval(score)
    figures = [
        {
            "name": f"Test {phrases.metric(name)}",
            "value": phrases.number(score.get("value")),
            "note": f"{between}, {phrases.count(score.get('n'))} rows" if between else "",
        }
    ]
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


def _calibration(record: Mapping[str, Any]) -> dict[str, Any] | None:
    block = table(record.get("calibration"))
    chart = charts.calibration(tables(block.get("bins")))
    if not chart:
        return None
    temperature = phrases.real(block.get("temperature"))
    return {"chart": chart, "temperature": None if temperature is None else phrases.plain(temperature)}


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
