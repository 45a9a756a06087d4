"""p-values of paired comparisons, and what several of them at once are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ukulele.evaluate.grouped import Groups, flipped
from ukulele.types import Verdict

FEW = 50  # discordant pairs up to which the exact test is taken: a bootstrap of so few is coarse
ALPHA = 0.05
EXACT, FLIPPED, RESAMPLED = "exact McNemar", "sign flips of groups", "paired bootstrap"


def p_of_draws(differences: NDArray[np.float64]) -> float:
    """Two-sided p of a difference from its bootstrap draws; never 0, since draws are finite.

    >>> p_of_draws(np.array([1.0] * 999)), p_of_draws(np.array([1.0, -1.0] * 50))
    (0.002, 1.0)
    """
    known = differences[~np.isnan(differences)]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (1 + tail) / (1 + len(known))))


def binomial(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of n rows were seen (Clopper, Pearson, 1934).

    >>> [round(end, 4) for end in binomial(3, 3)], [round(end, 4) for end in binomial(1, 10)]
    ([0.2924, 1.0], [0.0025, 0.445])
    """
    from scipy.stats import beta

    low = float(beta.ppf(ALPHA / 2, right, n - right + 1)) if right else 0.0
    return low, float(beta.ppf(1 - ALPHA / 2, right + 1, n - right)) if right < n else 1.0


def unseen(n: int) -> float:
    """The largest share that n rows would miss with a probability of 2.5 %.

    >>> round(unseen(3), 4), round(unseen(300), 4)
    (0.7076, 0.0122)
    """
    return float(1 - (ALPHA / 2) ** (1 / n))


def mcnemar(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float | None:
    """Exact two-sided p that two models are right equally often, where few rows part them; None where many do.

    >>> right = np.array([True] * 8 + [False] * 2)
    >>> mcnemar(right, ~right), mcnemar(right, right)
    (0.109375, 1.0)
    """
    from scipy.stats import binomtest

    better, worse = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if better + worse > FEW:
        return None
    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def p_of_pairs(
    drawn: NDArray[np.float64], right: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None, groups: Groups
) -> tuple[float, str]:
    """Two-sided p that two models are equally good, and how it was tested.

    Parameters
    ----------
    drawn
        Bootstrap draws of their difference.
    right
        Of accuracies, which rows (n,) each has right.
    groups
        In which the rows come: McNemar's test takes rows as independent, so that signs of groups are flipped instead.
    """
    resampled = RESAMPLED if groups.codes is None else f"{RESAMPLED} over groups"
    exact: float | None = None
    if right is not None and groups.codes is None:
        exact = mcnemar(*right)
    elif right is not None:
        sums = groups.sums(right[0].astype(np.float64) - right[1])
        exact = flipped(sums) if (sums != 0).sum() <= FEW else None
    if exact is None:
        return groups.p(p_of_draws(drawn)), resampled
    if groups.count is None:
        return exact, EXACT
    return (exact, FLIPPED) if groups.codes is not None else (1.0, FLIPPED)


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with p adjusted for their number (S. Holm, 1979); what then is above .05 is inconclusive.

    Comparisons without a p are left as they are and count for nothing.
    """
    known = sorted((one.p, at) for at, one in enumerate(verdicts) if one.p is not None)
    found, highest = list(verdicts), 0.0
    for rank, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        one = verdicts[at]
        outcome = one.outcome if highest < ALPHA else "inconclusive"
        found[at] = replace(one, p_adjusted=highest, outcome=outcome, comparisons=len(known))
    return found
