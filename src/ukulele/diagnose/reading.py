"""What the one pass through the data showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ukulele.types import Finding

RARE, OFTEN = 0.001, 0.01  # shares of tokens from which unknown words are told, and warned of


def lengths(
    limit: int | None, tokens: Sequence[int], what: str = "training texts", *, chunks: bool = True
) -> list[Finding]:
    """Texts that are longer than the model takes.

    `tokens` are their lengths before they are cut; `chunks` says whether the model can read them in pieces.
    """
    if limit is None or not len(tokens):
        return []
    long = sum(length > limit for length in tokens)
    if not long:
        return []
    share = long / len(tokens)
    lost = sum(max(0, length - limit) for length in tokens) / max(1, sum(tokens))
    return [
        Finding(
            "warning" if share > 0.05 else "info",
            "texts-cut",
            f"{long} of {len(tokens)} {what} ({share:.1%}) are longer than the model's {limit} tokens: the rest, "
            f"{lost:.1%} of all tokens, is not read.",
            {"rows": long, "limit": limit, "lost": lost},
            "If the ends matter: "
            + "--long chunk reads all, in pieces; " * chunks
            + "--max-length takes more where the model can.",
        )
    ]


def unknown_words(unknown: int, tokens: int) -> list[Finding]:
    """Words of some training rows that the model's tokenizer has no pieces for."""
    share = unknown / max(1, tokens)
    if share < RARE:
        return []
    return [
        Finding(
            "warning" if share >= OFTEN else "info",
            "unknown-words",
            f"{share:.1%} of the tokens stand for words or letters that the model's tokenizer does not know: they are "
            "all the same to it, it cannot write them, and they do not count as bytes that it spells.",
            {"unknown": unknown, "tokens": tokens},
            "Name a model made for this script, or one that knows every byte; --new-tokens teaches single words.",
        )
    ]


def slices_left_out(left: Mapping[str, Any] | None, task: str = "") -> list[Finding]:
    """Values of a sliced column that have no figures of their own; `task` is named where there are several."""
    if left is None:
        return []
    rest, where = left["values"] - left["shown"], f"{task}: " if task else ""
    return [
        Finding(
            "info",
            "slices-left-out",
            f"{where}{left['shown']} of {left['values']:,} values of {left['column']!r} have figures; the other "
            f"{rest:,} hold{'s' * (rest == 1)} {left['rows']:,} row{'s' * (left['rows'] != 1)}.",
            {**left},
            "Slice by a column of fewer values, or give uke evaluate the rows of one value alone.",
        )
    ]


def frozen_tokens(tokens: Sequence[str]) -> list[Finding]:
    """New tokens whose embeddings are not trained."""
    if not tokens:
        return []
    shown = ", ".join(tokens[:5]) + (" …" if len(tokens) > 5 else "")
    return [
        Finding(
            "warning",
            "new-tokens-frozen",
            f"The embeddings are frozen: {len(tokens):,} new token{'s' * (len(tokens) > 1)} ({shown}) stay the mean of "
            "their pieces.",
            {"tokens": len(tokens)},
            "--strategy full, or --freeze none, trains them.",
        )
    ]


def box_labels(seen: Sequence[str], unseen: Sequence[str], pictures: int, file: str) -> list[Finding]:
    """Boxes that may be missing or of the wrong class, and boxes where nothing is seen.

    Both say where and what, the surest first; `file` lists them all.
    """
    found = []
    if seen:
        found.append(
            Finding(
                "info",
                "label-suspects",
                f"In {pictures:,} pictures {len(seen):,} sure detections lie on no box or on one of another class. "
                f"The first: {seen[0]}.",
                {"count": len(seen), "examples": list(seen[:20])},
                f"Look at them, they are listed in {file}: some are faults of the model, some of the labels.",
            )
        )
    if unseen:
        found.append(
            Finding(
                "info",
                "boxes-never-found",
                f"At {len(unseen):,} boxes nothing at all is seen, though nearly all others of their class are found. "
                f"The first: {unseen[0]}.",
                {"count": len(unseen), "examples": list(unseen[:20])},
                f"Look at them, they are listed in {file}: boxes in the wrong place or of the wrong class, or objects "
                "that are hidden, tiny or unlike the others.",
            )
        )
    return found


def damaged_cache(blocks: int) -> Finding:
    """Cache files that were found damaged, thrown away and computed again."""
    return Finding(
        "warning",
        "cache-damaged",
        f"{blocks} damaged file(s) of the feature cache were thrown away and computed again.",
        {"blocks": blocks},
        "Once is chance; if it happens again, check the disk, or empty the cache: uke cache --clear.",
    )
