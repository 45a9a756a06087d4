"""A run that learnt several tasks: each against a model of its own, and what the tasks did to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.report import charts, phrases, quality, rows, seeds
from ukulele.report.heat import heat
from ukulele.report.phrases import table, tables

SPLITS = ("train", "val", "test")


def several(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a run that learnt several tasks."""
    return isinstance(record.get("multitask"), Mapping)


def tasks_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of its tasks, each with a name that can be read."""
    return [t | {"name": phrases.plain(t.get("name"))} for t in tables(table(record["multitask"]).get("tasks"))]


def view(record: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page says of such a run and of no other."""
    block, tasks, known = table(record["multitask"]), tasks_of(record), quality.candidates(record)
    lines, grouping = [_line(task) for task in tasks], _grouping(table(block.get("grouping")))
    carried = grouping is not None and grouping["carried"]
    ours = "The groups" if carried else f"One model for {len(tasks)} tasks"
    return {
        "carried": carried,
        "tasks": lines,
        "alone": any(line["alone"]["value"] for line in lines),
        "control": any(line["control"]["value"] for line in lines),
        "judged": any(line["verdicts"] for line in lines),
        "changes": _changes(tasks, table(block.get("delta_m_percent"))),
        "gain": str(table(record.get("gain_over_probe")).get("sentence") or ""),
        "seeds": seeds.sections(record),
        "seconds": _seconds(table(block.get("seconds")), ours),
        "facts": _facts(block),
        "affinity": _affinity(table(block.get("affinity"))),
        "grouping": grouping,
        "conflicts": _conflicts(tables(block.get("conflicts"))),
        "sources": _sources(tasks),
        "details": [_details(task, line, known) for task, line in zip(tasks, lines, strict=True)],
    }


# ---------------------------------------------------------------- the verdict


def hero(record: Mapping[str, Any]) -> dict[str, Any]:
    """The first thing that is said: whether learning together helped."""
    block = table(record["multitask"])
    delta = table(block.get("delta_m_percent"))
    outcome = _outcome(delta)
    sign, word = phrases.OUTCOMES.get(outcome, ("", ""))
    n = len(tasks_of(record))
    otherwise = (
        f"{n} tasks were learnt together. No model was trained for each alone, so whether that helped is not known."
        if outcome == "none"
        else f"{n} tasks were learnt together: the mean change is {phrases.percent(delta['value'])} "
        "against a model for each."
    )
    return {
        "outcome": outcome,
        "sign": sign,
        "word": word,
        "sentence": re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", str(block.get("sentence") or otherwise)),
        "difference": _mean_change(delta, n),
        "gain": None,
        "untouched": None,
        "worse": False,
    }


def _outcome(delta: Mapping[str, Any]) -> str:
    if phrases.real(delta.get("value")) is None:
        return "none"
    low, high = phrases.real(delta.get("low")), phrases.real(delta.get("high"))
    if low is not None and low > 0:
        return "helped"
    return "hurt" if high is not None and high < 0 else "inconclusive"


def _mean_change(delta: Mapping[str, Any], n: int) -> dict[str, Any] | None:
    if phrases.real(delta.get("value")) is None:
        return None
    between, method = phrases.percents(delta), delta.get("method")
    said = [f"Δm, the mean relative change of {n} tasks against a model for each"]
    said += [f"95 % interval {between}"] if between else []
    said += [phrases.plain(method)] if method else []
    return {
        "chart": charts.difference(delta, " %"),
        "value": phrases.percent(delta["value"]),
        "said": ", ".join(said),
    }


def figures(record: Mapping[str, Any]) -> list[dict[str, str]]:
    """How many tasks there are, and how many of them gained."""
    found = [table(task.get("verdict")).get("outcome") for task in tasks_of(record)]
    words = {"helped": "better", "inconclusive": "no different", "hurt": "worse"}
    counted = [f"{n} {word}" for outcome, word in words.items() if (n := found.count(outcome))]
    note = f"{', '.join(counted)} than alone" if counted else ""
    return [{"name": "Tasks", "value": str(len(found)), "note": note}]


# ---------------------------------------------------------------- task by task


def metrics(record: Mapping[str, Any]) -> dict[str, str]:
    """The deciding metric of each task, in words."""
    return {task["name"]: phrases.metric(task.get("metric") or "score") for task in tasks_of(record)}


def _line(task: Mapping[str, Any]) -> dict[str, Any]:
    multi, control = table(task.get("multi")), table(task.get("control"))
    judged = [
        (verdict, quality.judged(table(task.get(verdict)), subject))
        for verdict, subject in (
            ("verdict", "Learning together"),
            ("transfer", "Transfer"),
            ("gain_over_probe", "Fine-tuning"),
        )
    ]
    return {
        "name": task["name"],
        "metric": phrases.metric(task.get("metric") or "score"),
        "asked": rows.asked(task),
        "n": phrases.count(multi.get("n")),
        "together": _cell(multi),
        "alone": _cell(table(task.get("single"))),
        "control": _cell(table(control.get("value"))) | {"name": phrases.plain(control.get("name"))},
        "verdicts": [found | {"alone": which == "verdict"} for which, found in judged if found],
    }


def _cell(estimate: Mapping[str, Any]) -> dict[str, str]:
    """A number with its interval; the number is empty if there is none."""
    value = phrases.real(estimate.get("value"))
    return {"value": "" if value is None else phrases.number(value), "interval": phrases.interval(estimate)}


def _changes(tasks: Sequence[Mapping[str, Any]], delta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Each task's paired difference as a share of the number alone, and their mean, on one scale in percent."""
    known: list[tuple[str, Mapping[str, Any]]] = [(t["name"], change) for t in tasks if (change := _relative(t))]
    if len(known) < 2:
        return None
    lines = known + ([("Δm", delta)] if phrases.real(delta.get("value")) is not None else [])
    on = charts.span([estimate for _, estimate in lines], zero=True)
    return {
        "rows": [
            {
                "name": name,
                "mean": i == len(known),
                "chart": charts.whisker(estimate, on, "chosen" if i == len(known) else "rung", zero=True),
                "value": phrases.percent(estimate["value"]),
                "interval": phrases.percents(estimate),
            }
            for i, (name, estimate) in enumerate(lines)
        ],
        "scale": charts.scale(on),
    }


def _relative(task: Mapping[str, Any]) -> dict[str, float]:
    """The paired difference, signed so that positive is better, in percent of the size of the number alone."""
    single = phrases.real(table(task.get("single")).get("value"))
    difference = table(table(task.get("verdict")).get("difference"))
    ends = {name: phrases.real(difference.get(name)) for name in ("value", "low", "high")}
    if not single or ends["value"] is None:
        return {}
    return {name: 100 * end / abs(single) for name, end in ends.items() if end is not None}


def _details(task: Mapping[str, Any], line: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run of this task alone would show, beside the line that is in the table."""
    name = task["name"]
    tried = [{**c, "test": table(c["test"][name])} for c in known if table(c["test"].get(name))]
    return {
        "line": line,
        "quality": quality.section(tried, task),
        "particulars": rows.particulars(task),
        "labels": rows.classes(task.get("classes")),
    }


# ---------------------------------------------------------------- together


def _seconds(seconds: Mapping[str, Any], ours: str) -> dict[str, Any] | None:
    together, singles = phrases.real(seconds.get("together")), phrases.real(seconds.get("singles"))
    if together is None or not singles:
        return None
    most = max(together, singles)
    return {
        "rows": [
            {"what": what, "seconds": phrases.duration(value), "bar": charts.bar(value, most), "kind": kind}
            for what, value, kind in (
                (ours, together, "chosen"),
                ("A model for each task", singles, "control"),
            )
        ],
        "share": phrases.share(together, singles),
    }


def _facts(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("Losses balanced by", phrases.plain(block.get("balance"))),
        ("Tasks sampled", phrases.plain(block.get("sampling"))),
        *_weighing(block),
    ]
    return [(name, value) for name, value in facts if value != phrases.ABSENT]


def _weighing(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was tried and chosen where weights were tuned."""
    found = table(block.get("weighing"))
    tried = [(_weights(one), table(one.get("gain"))) for one in tables(found.get("tried"))]
    if not tried:
        return []
    gains = [f"{what}: {phrases.percent(gain.get('value')) or phrases.ABSENT}" for what, gain in tried[1:]]
    return [("Weights tuned on validation", f"{_weights(found)} of {tried[0][0]} and {'; '.join(gains)}")]


def _weights(told: Mapping[str, Any]) -> str:
    given = table(told.get("weights"))
    return ", ".join(f"{name} {phrases.plain(weight)}" for name, weight in given.items()) or "as given"


def _affinity(block: Mapping[str, Any]) -> dict[str, str] | None:
    names = [phrases.plain(name) for name in phrases.listed(block.get("tasks"))]
    matrix = [[phrases.real(v) for v in phrases.listed(row)] for row in phrases.listed(block.get("matrix"))]
    if len(names) < 2 or len(matrix) != len(names) or any(len(row) != len(names) for row in matrix):
        return None
    return {"chart": heat(names, matrix), "measured": phrases.count(block.get("measured"))}


def _grouping(block: Mapping[str, Any]) -> dict[str, Any] | None:
    groups = [[phrases.plain(name) for name in phrases.listed(g)] for g in phrases.listed(block.get("groups"))]
    text = str(block.get("text") or "")
    if not text and not groups:
        return None
    return {
        "text": text,
        "reason": str(block.get("reason") or ""),
        "groups": [" + ".join(g) for g in groups if g],
        "carried": block.get("carried_out") is True,
    }


def _conflicts(entries: Sequence[Mapping[str, Any]]) -> str:
    shares = [(e, phrases.real(e.get("share"))) for e in entries]
    history = [{"phase": e.get("phase"), "share": None if s is None else 100 * s} for e, s in shares]
    return charts.curves(history, [("share", "")], "pairs of tasks whose gradients point apart, %")


# ---------------------------------------------------------------- the data


def asks(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is asked, as facts about the data."""
    return [("Tasks", ", ".join(task["name"] for task in tasks_of(record)) or phrases.ABSENT)]


def _sources(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where each task's rows come from, and how many have an answer."""
    return [
        {
            "name": task["name"],
            "asked": rows.asked(task),
            "source": phrases.plain(task.get("source")),
            "column": phrases.plain(task.get("column")),
            "weight": phrases.plain(task.get("weight")),
            "rows": [phrases.count(table(task.get("rows")).get(split)) for split in SPLITS],
        }
        for task in tasks
    ]
