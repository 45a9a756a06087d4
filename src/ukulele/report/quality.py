"""How good, against what, at what cost: the candidates and controls of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ukulele.report import charts, phrases
from ukulele.report.phrases import table, tables
from ukulele.report.rows import metric_names


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


def section(known: Sequence[Mapping[str, Any]], block: Mapping[str, Any]) -> dict[str, Any]:
    """Every metric of a task with its interval for every candidate, the deciding metric drawn."""
    names = metric_names(block)
    tested = [c for c in known if c["test"]] or [
        {
            "name": "this model",
            "chosen": True,
            "control": False,
            "why": "",
            "model": "",
            "test": table(block.get("test")),
        }
    ]
    figures = [_metric_table(name, tested) for name in names]
    untested = [c["name"] for c in known if not c["test"]]
    return {
        "first": figures[0] if figures else None,
        "others": figures[1:],
        "untested": ", ".join(untested),
        "controls": any(c["control"] for c in tested),
    }


def _metric_table(name: str, tested: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def cost(record: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """Seconds, memory and parameters of every candidate, the picture with one metric, and where the time went."""
    known = [c for c in candidates(record) if phrases.real(c["seconds"]) is not None]
    own = table(record.get("cost"))
    if not known and not own:
        return None
    points = [
        {"name": c["name"], "seconds": c["seconds"], "test": table(c["test"].get(metric))}
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
        "picture": charts.cost_quality(points, phrases.metric(metric)),
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


def training(record: Mapping[str, Any], metric: str, tasks: Mapping[str, str]) -> list[dict[str, Any]]:
    """The curves of every candidate that was trained step by step; the chosen one comes first.

    Parameters
    ----------
    metric
        What the score is, in words.
    tasks
        Of several tasks, what the score of each is, in words; each that a candidate has is drawn by itself.
    """
    found = []
    tokens = phrases.real(table(table(record.get("writing")).get("tokens")).get("train"))
    across, loss = ("epoch", "loss") if not tokens else (f"epoch, of {tokens:,.0f} tokens", "loss, nats a token")
    for candidate in candidates(record):
        history = candidate["history"]
        if not history:
            continue
        scored = [name for name in tasks if any(name in table(h.get("scores")) for h in history)]
        losses = [("train_loss", "training"), ("validation_loss", "validation")]
        own = scored or [name for name in tasks if name in candidate["test"]]
        whole = tasks[own[0]] if len(own) == 1 else metric
        pictures = [
            charts.curves(history, [("score", "validation")], f"validation score ({whole})", across),
            charts.curves(history, losses, loss, across),
        ]
        split = scored if len(scored) > 1 else []
        pictures += [_score_curve(history, name, tasks[name]) for name in split]
        found.append(
            {
                "name": candidate["name"],
                "chosen": candidate["chosen"],
                "pictures": pictures,
                "tasks": split,
                "epochs": [_epoch(h, split) for h in history],
            }
        )
    return found


def _score_curve(history: Sequence[Mapping[str, Any]], task: str, metric: str) -> Markup:
    own = [{**h, "score": table(h.get("scores")).get(task)} for h in history]
    return charts.curves(own, [("score", "")], f"{metric} of {task}")


def _epoch(entry: Mapping[str, Any], tasks: Sequence[str]) -> dict[str, Any]:
    return {
        **{name: _counted(entry.get(name)) for name in ("phase", "epoch")},
        **{name: phrases.number(entry.get(name)) for name in ("train_loss", "validation_loss", "score")},
        "best": "yes" if entry.get("best") else "",
        "scores": [phrases.number(table(entry.get("scores")).get(name)) for name in tasks],
    }


def _counted(value: object) -> str:
    """A number that the record counts from 0, counted from 1 as the curves and the screen do."""
    return phrases.plain(value + 1 if isinstance(value, int) and not isinstance(value, bool) else value)


def judged(verdict: Mapping[str, Any], subject: str) -> dict[str, Any] | None:
    """A verdict in words and drawn; None if there is none. `subject` is what helped or hurt."""
    if not verdict:
        return None
    outcome = str(verdict.get("outcome", ""))
    sign, word = phrases.OUTCOMES.get(outcome, ("", ""))
    return {
        "outcome": outcome if word else "none",
        "sign": sign,
        "word": word,
        "sentence": _sentence(verdict, subject),
        "difference": _difference(verdict),
    }


def _sentence(verdict: Mapping[str, Any], subject: str) -> str:
    if verdict.get("sentence"):
        return str(verdict["sentence"])
    against, metric = phrases.plain(verdict.get("against")), phrases.metric(verdict.get("metric", ""))
    match verdict.get("outcome"):
        case "helped":
            return f"{subject} helped: {metric} is better than that of {against}."
        case "hurt":
            return f"{subject} hurt: {metric} is worse than that of {against}."
        case _:
            return f"Inconclusive: {metric} cannot be told apart from that of {against} on these test rows."


def grouped(record: Mapping[str, Any]) -> str:
    """What intervals are drawn of, where rows come in groups; follows "intervals".

    >>> grouped({"data": {"groups": {"column": "speaker", "test": 24}}}), grouped({"data": {}})
    (", drawn by 'speaker': 24 groups", '')
    """
    groups = table(table(record.get("data")).get("groups"))
    count = phrases.real(groups.get("test"))
    if count is None:
        return ""
    return f", drawn by {phrases.plain(groups.get('column'))!r}: {phrases.count(count)} group{'s' * (count != 1)}"


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
        "method": phrases.plain(found.get("method", "paired comparison")) + _tested(verdict),
    }


def _tested(verdict: Mapping[str, Any]) -> str:
    """The p-value of a verdict in words, adjusted where there were several comparisons.

    >>> _tested({"p": 0.012, "test": "exact McNemar", "p_adjusted": 0.024, "comparisons": 2})
    '; p = 0.024 (exact McNemar, adjusted for 2 comparisons)'
    """
    p = phrases.real(verdict.get("p_adjusted", verdict.get("p")))
    p = phrases.real(verdict.get("p")) if p is None else p
    if p is None:
        return ""
    several = phrases.real(verdict.get("comparisons")) or 1
    adjusted = f", adjusted for {several:.0f} comparisons" if several > 1 else ""
    said = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return f"; {said} ({phrases.plain(verdict.get('test'))}{adjusted})"
