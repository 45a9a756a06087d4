"""Numbers and names as a reader wants them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

ABSENT = "–"

METRICS = {
    "delta_m_percent": "Δm, %",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "log_loss": "log-loss",
    "roc_auc": "ROC-AUC",
    "calibration_error": "calibration error",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "pearson": "Pearson r",
    "spearman": "Spearman ρ",
    "map50_95": "mAP50–95",
    "map50": "mAP50",
    "map75": "mAP75",
    "f1": "F1",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougel": "ROUGE-L",
    "bits_per_byte": "bits per byte",
}
LOWER_IS_BETTER = frozenset(
    {"log_loss", "calibration_error", "rmse", "mae", "mse", "brier", "hamming_loss", "perplexity", "bits_per_byte"}
)
OUTCOMES = {"helped": ("▲", "Helped"), "hurt": ("▼", "Hurt"), "inconclusive": ("≈", "Inconclusive")}


def key(name: object) -> str:
    """A metric's name in one spelling: `Macro-F1` and `macro_f1` are the same."""
    return str(name).lower().replace("-", "_").replace(" ", "_")


def metric(name: object) -> str:
    """A metric as it is written in a sentence.

    >>> metric("macro_f1"), metric("exact_match")
    ('macro F1', 'exact match')
    """
    return METRICS.get(key(name), str(name).replace("_", " "))


def lower_is_better(name: object) -> bool:
    """Whether a small value of this metric is the good one."""
    return key(name) in LOWER_IS_BETTER


def capital(text: str) -> str:
    """The text with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]


def real(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def number(value: object, signed: bool = False) -> str:
    """A measured number in about three significant decimals, with a true minus sign.

    >>> number(0.8137), number(-0.0213, signed=True), number(1234.5), number(None)
    ('0.814', '−0.021', '1,234', '–')
    """
    found = real(value)
    if found is None:
        return ABSENT
    if abs(found) >= 1e6:
        text = f"{found:.3g}"
    elif abs(found) >= 1000:
        text = f"{found:,.0f}"
    elif abs(found) >= 10:
        text = f"{found:.1f}"
    else:
        text = f"{found:.3f}"
    if signed and found > 0:
        text = f"+{text}"
    return text.replace("-", "−")


def interval(estimate: object, signed: bool = False) -> str:
    """The 95 % interval of an estimate.

    >>> interval({"value": 0.5, "low": 0.41, "high": 0.6})
    '0.410 to 0.600'
    """
    if not isinstance(estimate, Mapping) or real(estimate.get("low")) is None or real(estimate.get("high")) is None:
        return ""
    return f"{number(estimate['low'], signed)} to {number(estimate['high'], signed)}"


def percent(value: object, signed: bool = True) -> str:
    """A number that is in percent already.

    >>> percent(1.32), percent(-0.04), percent(38.2, signed=False), percent(None)
    ('+1.3 %', '−0.04 %', '38.2 %', '–')
    """
    found = real(value)
    return ABSENT if found is None else f"{_percent(found, signed)} %"


def percents(estimate: Mapping[str, Any], signed: bool = True) -> str:
    """The 95 % interval of an estimate that is in percent already.

    >>> percents({"value": 1.3, "low": 0.2, "high": 2.4})
    '+0.2 to +2.4 %'
    """
    low, high = real(estimate.get("low")), real(estimate.get("high"))
    return "" if low is None or high is None else f"{_percent(low, signed)} to {_percent(high, signed)} %"


def _percent(value: float, signed: bool) -> str:
    far = abs(value)
    decimals = 0 if far >= 100 else 1 if far >= 0.095 else 2
    rounded = round(value, decimals) + 0.0  # a zero has no minus
    sign = "+" if signed and rounded > 0 else ""
    return f"{sign}{rounded:,.{decimals}f}".replace("-", "−")


def count(value: object) -> str:
    """A whole number with separators.

    >>> count(1821)
    '1,821'
    """
    found = real(value)
    return ABSENT if found is None else f"{found:,.0f}"


def large(value: object) -> str:
    """A large count in short.

    >>> large(22_713_216), large(770), large(4.2e12)
    ('22.7 M', '770', '4.2 T')
    """
    found = real(value)
    if found is None:
        return ABSENT
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(found) >= size:
            return f"{found / min(size, 1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{found:,.0f}"


def duration(seconds: object) -> str:
    """A stretch of time in the units one would say.

    >>> duration(0.21), duration(41.3), duration(187), duration(7200)
    ('0.21 s', '41 s', '3 min 7 s', '2 h')
    """
    found = real(seconds)
    if found is None:
        return ABSENT
    if found < 10:
        return f"{found:.2g} s" if found >= 0.01 or found == 0 else "< 0.01 s"
    whole = round(found)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    return f"{whole // 3600} h {whole % 3600 // 60} min".removesuffix(" 0 min")


def size(of_bytes: object) -> str:
    """Bytes in decimal units.

    >>> size(1_300_000_000), size(96_000_000)
    ('1.3 GB', '96 MB')
    """
    found = real(of_bytes)
    if found is None:
        return ABSENT
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if found >= unit:
            return f"{found / unit:.2g} {name}" if found < 10 * unit else f"{found / unit:.0f} {name}"
    return f"{found:.0f} B"


def share(part: object, whole: object) -> str:
    """A part of a whole in percent.

    >>> share(1, 8), share(5_000, 22_000_000), share(1, 0)
    ('12 %', '0.023 %', '–')
    """
    top, bottom = real(part), real(whole)
    if top is None or not bottom:
        return ABSENT
    percent = 100 * top / bottom
    if percent >= 10 or percent == 0:
        return f"{percent:.0f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def plain(value: object) -> str:
    """Any plain value as one readable line."""
    match value:
        case None:
            return ABSENT
        case str():
            return value
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case float():
            return f"{value:.4g}".replace("-", "−")
        case list() | tuple() if all(isinstance(item, str | int | float) for item in value):
            return ", ".join(plain(item) for item in value)
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def short(text: object, limit: int = 600) -> str:
    """A text cut to a length, saying how much is missing."""
    whole = str(text)
    return whole if len(whole) <= limit else f"{whole[:limit].rstrip()}… ({len(whole) - limit:,} more characters)"


def table(value: object) -> dict[str, Any]:
    """A block of a record as a dict; empty if the block is absent."""
    return {str(name): item for name, item in value.items()} if isinstance(value, Mapping) else {}


def tables(value: object) -> list[dict[str, Any]]:
    """A list of blocks; empty if the list is absent."""
    return [table(item) for item in listed(value) if isinstance(item, Mapping)]


def listed(value: object) -> list[Any]:
    """A list of a record; empty if it is absent."""
    return list(value) if isinstance(value, list | tuple) else []
