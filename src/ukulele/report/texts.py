"""What was written: samples side by side, what was counted, and how it was scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ukulele.report import phrases
from ukulele.report.phrases import table, tables


def written(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """All that is shown of texts that were written; None where the task is another."""
    block = table(record.get("writing"))
    if not block:
        return None
    return {
        "samples": [_sample(sample) for sample in tables(block.get("samples"))],
        "facts": [*_counts(table(block.get("counts"))), *_how(block)],
    }


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    texts = [("Source", sample.get("source"), ""), ("Reference", sample.get("reference"), "")]
    texts.append(("Output", sample.get("output"), "chosen"))
    if sample.get("zero_shot") is not None:
        texts.append(("Before", sample.get("zero_shot"), ""))
    others = table(sample.get("others"))
    return {
        "where": phrases.plain(sample.get("where")),
        "texts": [{"name": name, "text": str(text or "(nothing)"), "kind": kind} for name, text, kind in texts],
        "others": [{"name": phrases.plain(name), "text": str(text or "(nothing)")} for name, text in others.items()],
    }


def _counts(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not counts:
        return []
    rows, cut = counts.get("rows"), counts.get("cut")
    words, wanted = table(counts.get("words")), table(counts.get("reference_words"))
    return [
        ("Copies of the source", f"{phrases.count(counts.get('copies'))} of {phrases.count(rows)}"),
        ("Empty", f"{phrases.count(counts.get('empty'))} of {phrases.count(rows)}"),
        *([("Sources cut to leave room", f"{phrases.count(cut)} of {phrases.count(rows)}")] if cut else []),
        ("Words an output", _spread(words)),
        ("Words a reference", _spread(wanted)),
        ("Length of outputs to references", phrases.number(counts.get("length_ratio"))),
    ]


def _spread(words: Mapping[str, Any]) -> str:
    low, middle, high = (phrases.number(words.get(name)) for name in ("low", "median", "high"))
    return f"{phrases.number(words.get('mean'))} on average; {low} to {high}, half of them up to {middle}"


def _how(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    decoding, tokens = table(block.get("drawn")) or table(block.get("decoding")), table(block.get("tokens"))
    beams, heat = decoding.get("beams"), phrases.real(decoding.get("temperature")) or 0.0
    way = f"drawn at a temperature of {heat:g}" if heat else f"{beams} beams" if beams != 1 else "greedily"
    facts = [("Written", f"{way}, at most {phrases.count(decoding.get('tokens'))} tokens")]
    if phrases.real(tokens.get("per_second")) is not None:
        what = "tokens" if block.get("free") else "tokens of answers"
        said = f"{phrases.count(round(float(tokens['per_second'])))} {what} a second"
        facts.append(("Taught", f"{said}, {phrases.count(tokens.get('train'))} in an epoch"))
    return [*facts, *((f"Score: {name}", phrases.plain(v)) for name, v in table(block.get("signatures")).items())]
