"""Texts against references: what is counted of each row, and metrics of sums over rows.

BLEU (Papineni et al., 2002) and chrF (Popović, 2015) of a corpus are functions of such sums, so their value on any
resample of the rows is exact. The only file that imports sacrebleu and rouge_score, and only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import MissingExtraError, PlanError
from ukulele.types import Metric, Written

Floats = NDArray[np.float64]

KNOWN = 0  # columns of the table: 0 where the row has a reference, else NaN
LOSS, TOKENS, BYTES, EXACT = 1, 2, 3, 4
ROUGE = slice(5, 8)
BLEU = slice(8, 18)  # lengths of answers and references, n-grams that match, n-grams
CHRF = slice(18, 36)  # by order: n-grams of the answer, of the reference, that match
WIDTH = 36
ORDERS, LETTERS, BETA = 4, 6, 2
OF_LOSS = ("bits_per_byte", "perplexity")
OF_TEXT = {
    "translate": ("bleu", "chrf", "exact_match"),
    "summarise": ("rouge1", "rouge2", "rougel", "chrf", "exact_match"),
    "generate": ("rougel", "chrf", "bleu", "exact_match"),
}
PRECISE = 20_000  # letters of an answer or a reference; what follows them is left out of the counts of ROUGE


def names(kind: str, free: bool) -> tuple[str, ...]:
    """The metrics of a kind of task, the one that decides by default in front; `free`: there is no reference.

    >>> names("translate", False)
    ('bleu', 'chrf', 'exact_match', 'perplexity', 'bits_per_byte')
    """
    match kind, free:
        case _, True:
            return OF_LOSS
        case "generate", _:
            return (*OF_LOSS, *OF_TEXT[kind])
        case _:
            return (*OF_TEXT[kind], *reversed(OF_LOSS))


def refuse_absent() -> None:
    """Refuse where the libraries of these metrics are not installed.

    Raises
    ------
    MissingExtraError
        Before anything is trained.
    """
    if find_spec("sacrebleu") is None or find_spec("rouge_score") is None:
        raise MissingExtraError("Scoring texts (sacrebleu, rouge-score)", "text")


# ---------------------------------------------------------------- rows


def table(kind: str, free: bool, answers: Sequence[Written], references: Sequence[str | None]) -> Floats:
    """Row statistics (n, 36): the columns above. What the kind has no metric of is 0."""
    found = np.zeros((len(answers), WIDTH))
    found[:, KNOWN] = [np.nan if reference is None else 0.0 for reference in references]
    found[:, LOSS] = [answer.loss for answer in answers]
    found[:, TOKENS] = [answer.tokens for answer in answers]
    found[:, BYTES] = [answer.bytes for answer in answers]
    if free or not len(answers):
        return found
    texts = [answer.text for answer in answers]
    given = [reference or "" for reference in references]
    wanted = names(kind, free)
    found[:, EXACT] = [text.strip() == reference.strip() for text, reference in zip(texts, given, strict=True)]
    bleu, chrf = scorers()
    if "bleu" in wanted:
        found[:, BLEU] = bleu._extract_corpus_statistics(texts, [given])
    if "chrf" in wanted:
        found[:, CHRF] = chrf._extract_corpus_statistics(texts, [given])
    if "rougel" in wanted:
        found[:, ROUGE] = rouge(texts, given, every="rouge1" in wanted)
    return found


@cache
def scorers() -> tuple[Any, Any]:
    """BLEU and chrF as sacrebleu has them by default: 13a tokens, exponential smoothing; six letters, β = 2."""
    from sacrebleu import metrics as known

    return known.BLEU(force=True), known.CHRF()


def rouge(texts: Sequence[str], references: Sequence[str], *, every: bool = True) -> Floats:
    """ROUGE-1, ROUGE-2 and ROUGE-L of each row, (n, 3): F-measures of stemmed English words, between 0 and 1.

    Where not `every`, only ROUGE-L is computed, and the others are 0.

    References
    ----------
    Lin, 2004, ROUGE: a package for automatic evaluation of summaries.
    """
    from rouge_score.rouge_scorer import RougeScorer

    kinds = ["rouge1", "rouge2", "rougeL"] if every else ["rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=True)
    found = [scorer.score(b[:PRECISE], a[:PRECISE]) for a, b in zip(texts, references, strict=True)]
    columns = ("rouge1", "rouge2", "rougeL")
    return np.array([[one[kind].fmeasure if kind in one else 0.0 for kind in columns] for one in found])


def signatures(kind: str, free: bool) -> dict[str, str]:
    """How the metrics were computed, for the record: sacrebleu's signatures, and what ROUGE is of."""
    wanted, found = names(kind, free), {}
    if "bleu" in wanted or "chrf" in wanted:
        for name, scorer in zip(("bleu", "chrf"), scorers(), strict=True):
            scorer.num_refs = 1
            if name in wanted:
                found[name] = str(scorer.get_signature())
    if "rougel" in wanted:
        from importlib.metadata import version

        found["rouge"] = f"rouge-score {version('rouge-score')}, F-measure, Porter stemmer, mean over rows"
    return found


def counted(sources: Sequence[str], answers: Sequence[Written], references: Sequence[str]) -> dict[str, Any]:
    """Answers that are copies of the source, or empty, or to sources that had to be cut to leave room for them; and how
    long answers and references are in words.
    """
    lengths = np.array([len(answer.text.split()) for answer in answers], np.float64)
    given = np.array([len(reference.split()) for reference in references], np.float64)
    copies = sum(a.text.split() == s.split() and bool(s.split()) for a, s in zip(answers, sources, strict=True))
    return {
        "rows": len(answers),
        "copies": int(copies),
        "empty": int((lengths == 0).sum()),
        "cut": sum(answer.unread > 0 for answer in answers),
        "words": _spread(lengths),
        "reference_words": _spread(given),
        "length_ratio": float(lengths.sum() / given.sum()) if given.sum() else None,
    }


def _spread(lengths: Floats) -> dict[str, float]:
    low, middle, high = np.quantile(lengths, (0.05, 0.5, 0.95)) if len(lengths) else (0.0, 0.0, 0.0)
    mean = float(lengths.mean()) if len(lengths) else 0.0
    return {"mean": mean, "low": float(low), "median": float(middle), "high": float(high)}


# ---------------------------------------------------------------- metrics


def metrics(kind: str, free: bool, first: str) -> tuple[Metric, ...]:
    """The metrics of a kind of task, the deciding one in front.

    Raises
    ------
    PlanError
        If there is no such metric for this kind.
    """
    known = names(kind, free)
    if first not in known:
        raise PlanError(
            f"unknown metric {first!r} for this kind of target.", hint=f"Choose one of: {', '.join(known)}."
        )
    order = [first, *(name for name in known if name != first)]
    return tuple(
        Metric(name, partial(_one, VALUES[name]), name not in OF_LOSS, many=partial(_many, VALUES[name]))
        for name in order
    )


Value = Callable[[Floats, Floats], Floats]  # (table, counts (draws, n)) -> (draws,)


def _one(value: Value, table: Floats, counts: Floats) -> float:
    return float(_many(value, table, np.asarray(counts, np.float64)[None])[0])


def _many(value: Value, table: Floats, counts: Floats) -> Floats:
    missing = np.isnan(table[:, KNOWN])
    if missing.any():
        table, counts = table[~missing], counts[:, ~missing]
    found = np.full(len(counts), np.nan)
    there = counts.any(1)
    if there.any():
        found[there] = value(table, counts[there])
    return found


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _perplexity(table: Floats, counts: Floats) -> Floats:
    return np.asarray(np.exp(_ratio(counts @ table[:, LOSS], counts @ table[:, TOKENS])))


def _bits(table: Floats, counts: Floats) -> Floats:
    return np.asarray(_ratio(counts @ table[:, LOSS], counts @ table[:, BYTES]) / np.log(2))


def _mean(column: int, scale: float, table: Floats, counts: Floats) -> Floats:
    return np.asarray(scale * (counts @ table[:, column]) / counts.sum(1))


def _bleu(table: Floats, counts: Floats) -> Floats:
    """From 0 to 100. A precision of nothing counts as half, a quarter, … of one match, as mteval has it."""
    sums = counts @ table[:, BLEU]
    ours, theirs, right, total = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    none = (right == 0) & (total > 0)
    guessed = 0.5 ** np.cumsum(none, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.log(np.where(none, guessed, right)) - np.log(total)
        brevity = np.where(ours < theirs, 1 - theirs / ours, 0.0)
        score = 100 * np.exp(brevity + precision.mean(1))
    return np.asarray(np.where((total > 0).all(1) & right.any(1), score, 0.0))


def _chrf(table: Floats, counts: Floats) -> Floats:
    """From 0 to 100: F with β = 2 of precision and recall, each the mean over orders that occur in both."""
    sums = (counts @ table[:, CHRF]).reshape(len(counts), LETTERS, 3)
    ours, theirs, right = sums[..., 0], sums[..., 1], sums[..., 2]
    there = (ours > 0) & (theirs > 0)
    orders = np.maximum(there.sum(1), 1)
    precision = np.where(there, right / np.maximum(ours, 1), 0.0).sum(1) / orders
    recall = np.where(there, right / np.maximum(theirs, 1), 0.0).sum(1) / orders
    below = BETA**2 * precision + recall
    return np.asarray(
        100 * np.divide((1 + BETA**2) * precision * recall, below, out=np.zeros(len(sums)), where=below > 0)
    )


VALUES: Mapping[str, Value] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "rouge1": partial(_mean, ROUGE.start, 1.0),
    "rouge2": partial(_mean, ROUGE.start + 1, 1.0),
    "rougel": partial(_mean, ROUGE.start + 2, 1.0),
    "exact_match": partial(_mean, EXACT, 1.0),
    "perplexity": _perplexity,
    "bits_per_byte": _bits,
}
