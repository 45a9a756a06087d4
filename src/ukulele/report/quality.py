"""How good, against what, at what cost: the candidates and controls of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ukulele.report import charts, phrases
from ukulele.report.phrases import table, tables


def candidates(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Candidates and controls in one list: the chosen one first, then rungs, then controls."""
    found = tables(record.get("candidates"))
    names = {phrases.plain(c.get("name")) for c in found}
    controls = [c | {"role": "control"} for c in tables(record.get("controls"))]
    found += [c for c in controls if phrases.plain(c.get("name")) not in names]
    chosen = phrases.plain(record.get("chosen"))
    if record.get("chosen") is not None and chosen not in {phrases.plain(c.get("name")) for c in found}:
        found.insert(0, {"name": chosen, "test": record["test"], "cost": record.get("cost")})
    listed = [
        {
            "name": phrases.plain(c.get("name")),
            "model": str(c.get("model") or ""),
            "why": str(c.get("why") or ""),
            "chosen": phrases.plain(c.get("name")) == chosen,
            "control": c.get("role") == "control",
            "test": table(c.get("test")),
            "validation": table(c.get("validation")),
            "cost": table(c.get("cost")),
            "seconds": table(c.get("cost")).get("seconds", c.get("seconds")),
            "history": tables(c.get("history")),
        }
        for c in found
    ]
    return sorted(listed, key=lambda c: (not c["chosen"], c["control"]))


def kind(candidate: Mapping[str, Any]) -> str:
    """How a candidate is called in a table; the words carry what the colours repeat."""
    return "chosen" if candidate["chosen"] else "control" if candidate["control"] else "tried"


def metric_names(record: Mapping[str, Any]) -> list[str]:
    """The metrics of the test, the deciding one first."""
    names = list(table(record["test"]))
    first = table(record["task"]).get("metric")
    return sorted(names, key=lambda name: name != first)


def section(record: Mapping[str, Any]) -> dict[str, Any]:
    """Every metric with its interval for every candidate, the deciding metric drawn."""
    known, names = candidates(record), metric_names(record)
    tested = [c for c in known if c["test"]] or [
        {"name": "this model", "chosen": True, "control": False, "why": "", "model": "", "test": table(record["test"])}
    ]
    figures = [_metric_table(name, tested) for name in names]
    untested = [c["name"] for c in known if not c["test"]]
    return {
        "first": figures[0] if figures else None,
        "others": figures[1:],
        "untested": ", ".join(untested),
        "controls": any(c["control"] for c in tested),
    }


def _metric_table(name: str, tested: list[dict[str, Any]]) -> dict[str, Any]:
    estimates = [table(c["test"].get(name)) for c in tested]
    on = charts.span(estimates)
    lines = [
        {
            "name": c["name"],
            "kind": kind(c),
            "why": c["why"] or (c["model"] if c["model"] != c["name"] else ""),
            "chart": charts.whisker(e, on, kind(c)),
            "value": phrases.number(e.get("value")),
            "interval": phrases.interval(e),
        }
        for c, e in zip(tested, estimates, strict=True)
        if e
    ]
    ns = {phrases.count(e.get("n")) for e in estimates if phrases.real(e.get("n")) is not None}
    direction = "lower is better" if phrases.lower_is_better(name) else "higher is better"
    return {
        "name": phrases.metric(name),
        "direction": direction,
        "n": ns.pop() if len(ns) == 1 else "",
        "rows": lines,
        "scale": charts.scale(on),
    }


def cost(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Seconds, memory and parameters of every candidate, the picture, and where the time went."""
    known = [c for c in candidates(record) if phrases.real(c["seconds"]) is not None]
    own = table(record.get("cost"))
    if not known and not own:
        return None
    names = metric_names(record)
    first = names[0] if names else ""
    points = [
        {"name": c["name"], "seconds": c["seconds"], "test": table(c["test"].get(first))}
        | {"control": c["control"], "chosen": c["chosen"]}
        for c in known
    ]
    lines = [
        {
            "name": c["name"],
            "kind": kind(c),
            "seconds": phrases.duration(c["seconds"]),
            "memory": phrases.size(c["cost"].get("peak_memory_bytes")),
            "trained": phrases.large(c["cost"].get("trained_parameters")),
            "total": phrases.large(c["cost"].get("total_parameters")),
            "flops": phrases.large(c["cost"].get("flops")),
        }
        for c in known
    ]
    return {
        "picture": charts.cost_quality(points, phrases.metric(first)),
        "rows": lines,
        "flops": any(line["flops"] != phrases.ABSENT for line in lines),
        "phases": _phases(own),
    }


def _phases(own: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = [p for p in phrases.listed(own.get("phases")) if isinstance(p, list | tuple) and len(p) == 2]
    known = [(str(what), value) for what, seconds in pairs if (value := phrases.real(seconds)) is not None]
    most = max((seconds for _, seconds in known), default=0.0)
    return [{"what": w, "seconds": phrases.duration(s), "bar": charts.bar(s, most)} for w, s in known]


def layers(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The score of a probe behind each stage."""
    found = [e for e in tables(record.get("layers")) if phrases.real(e.get("value")) is not None]
    if not found:
        return None
    on = charts.span(found)
    best = max(range(len(found)), key=lambda i: float(found[i]["value"]))
    lines = [
        {
            "stage": phrases.plain(e.get("stage")),
            "best": i == best,
            "chart": charts.whisker(e, on, "chosen" if i == best else "rung"),
            "value": phrases.number(e["value"]),
            "interval": phrases.interval(e),
        }
        for i, e in enumerate(found)
    ]
    reach = phrases.real(found[-1].get("high"))
    if best == len(found) - 1:
        said = "The last stage scores highest."
    elif reach is not None and reach >= float(found[best]["value"]):
        said = f"Stage {lines[best]['stage']} scores highest, but within the interval of the last one."
    else:
        said = f"Stage {lines[best]['stage']} scores highest, above the interval of the last one."
    return {"rows": lines, "scale": charts.scale(on), "said": said}


def training(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The curves of every candidate that was trained step by step; the chosen one comes first."""
    found = []
    metric = phrases.metric(table(record["task"]).get("metric", "score"))
    for candidate in candidates(record):
        history = candidate["history"]
        if not history:
            continue
        score = charts.curves(history, [("score", "validation")], f"validation score ({metric})")
        losses = [("train_loss", "training"), ("validation_loss", "validation")]
        found.append(
            {
                "name": candidate["name"],
                "chosen": candidate["chosen"],
                "score": score,
                "loss": charts.curves(history, losses, "loss"),
                "epochs": _epochs(history),
            }
        )
    return found


def _epochs(history: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {name: phrases.plain(h.get(name)) for name in ("phase", "epoch")}
        | {name: phrases.number(h.get(name)) for name in ("train_loss", "validation_loss", "score")}
        | {"best": "yes" if h.get("best") else ""}
        for h in history
    ]


def slices(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The deciding metric by subgroup, one table for each column."""
    names = metric_names(record)
    found = tables(record.get("slices"))
    if not names or not found:
        return []
    pairs = [(s, table(table(s.get("test")).get(names[0]))) for s in found]
    on = charts.span([e for _, e in pairs])
    columns: dict[str, list[dict[str, str | Markup]]] = {}
    for s, e in pairs:
        columns.setdefault(phrases.plain(s.get("column")), []).append(
            {
                "value": phrases.plain(s.get("value")),
                "n": phrases.count(s.get("n")),
                "chart": charts.whisker(e, on, "rung"),
                "score": phrases.number(e.get("value")),
                "interval": phrases.interval(e),
            }
        )
    metric = phrases.metric(names[0])
    return [{"column": c, "metric": metric, "rows": r, "scale": charts.scale(on)} for c, r in columns.items()]
