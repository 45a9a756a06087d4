"""Several runs side by side, as rows for a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.report import phrases
from ukulele.report.phrases import ABSENT, table
from ukulele.report.together import several


def compare(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Runs side by side: a header row, then one row for each property, one column for each run.

    The intervals are each run's own. Runs on different data (see the row "data hash") cannot be compared.

    >>> compare([{"run": {"name": "a"}, "test": {"accuracy": {"value": 0.9, "low": 0.88, "high": 0.92}}}])[:2]
    [['', 'a'], ['test accuracy', '0.900 (0.880 to 0.920)']]
    """
    columns = [_column(record) for record in records]
    names = list(dict.fromkeys(name for column in columns for name in column))
    header = ["", *(str(table(r.get("run")).get("name", ABSENT)) for r in records)]
    return [header, *([name, *(column.get(name, ABSENT) for column in columns)] for name in names)]


def _column(record: Mapping[str, Any]) -> dict[str, str]:
    blocks = ("run", "data", "model", "plan", "cost", "verdict")
    run, data, model, plan, cost, verdict = (table(record.get(block)) for block in blocks)
    column = _tasks(record) if several(record) else _scores("test", table(record.get("test")))
    if verdict:
        gain = estimate(verdict.get("difference"), signed=True)
        column["verdict"] = f"{verdict.get('outcome', ABSENT)}, {gain} against {verdict.get('against', ABSENT)}"
    before = table(record.get("gain_over_untouched"))
    if before:
        gain = estimate(before.get("difference"), signed=True)
        column["training"] = f"{before.get('outcome', ABSENT)}, {gain} against {before.get('against', ABSENT)}"
    trained, total = cost.get("trained_parameters"), cost.get("total_parameters")
    rows = table(data.get("rows"))
    column |= {
        "seconds": phrases.duration(cost.get("seconds")),
        "peak memory": phrases.size(cost.get("peak_memory_bytes")),
        "trained parameters": f"{phrases.large(trained)} of {phrases.large(total)}",
        "model": phrases.plain(model.get("name")),
        "strategy": phrases.plain(plan.get("strategy")),
        "cut": phrases.plain(plan.get("cut")),
        "data": phrases.plain(data.get("name")),
        "rows (train/val/test)": "/".join(phrases.count(rows.get(split)) for split in ("train", "val", "test")),
        "seed": phrases.plain(run.get("seed")),
        "data hash": phrases.plain(table(run.get("hashes")).get("data"))[:12],
    }
    return column


def _scores(what: str, scores: Mapping[str, Any]) -> dict[str, str]:
    return {f"{what} {phrases.metric(name)}": estimate(value) for name, value in scores.items()}


def _tasks(record: Mapping[str, Any]) -> dict[str, str]:
    """The scores of each task, and the mean change against a model for each."""
    column: dict[str, str] = {}
    for task, scores in table(record.get("test")).items():
        column |= _scores(f"test {task}:", table(scores))
    delta = table(table(record["multitask"]).get("delta_m_percent"))
    if phrases.real(delta.get("value")) is not None:
        between = phrases.percents(delta)
        column["Δm"] = phrases.percent(delta["value"]) + (f" ({between})" if between else "")
    return column


def estimate(value: object, signed: bool = False) -> str:
    """A number with its interval, for one cell."""
    found = table(value)
    between = phrases.interval(found, signed)
    written = phrases.number(found.get("value"), signed)
    return f"{written} ({between})" if between else written
