"""Training rows that are set apart to calibrate prediction sets, and serve nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ukulele.data.assign import Drawn, alike, named_groups
from ukulele.data.decoded import Decoded
from ukulele.data.frame import Frame, Indices
from ukulele.data.near import merged
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape
from ukulele.data.split import one_more
from ukulele.errors import DataError

LEAST, MOST, SHARE = 100, 1000, 10  # `auto` takes every tenth training row, at most a thousand


def set_apart(
    frame: Frame,
    shape: Shape,
    train: Indices,
    decoded: Decoded | None,
    options: ReadOptions,
    drawn: Drawn | None = None,
) -> tuple[Indices, Indices, str]:
    """Training rows, those set apart, and a note on it: drawn at random, nearly identical rows and groups whole; as the
    test rows were, where those were `drawn` of the same rows.

    Raises
    ------
    DataError
        If fewer than 100 would calibrate, or fewer would be left to train on than calibrate.
    """
    auto = options.calibrate == "auto"
    wanted = min(MOST, len(train) // SHARE) if auto else int(options.calibrate or 0)
    why = f"a tenth of {len(train):,} training rows" if auto else "asked for"
    if wanted < LEAST:
        raise DataError(
            f"--calibrate {options.calibrate}: {wanted} rows ({why}) would calibrate the prediction sets; with fewer "
            f"than {LEAST} their coverage is off by five points too often.",
            hint=f"Give a number of {LEAST} or more if the training rows can spare them, or leave --calibrate out.",
        )
    if 2 * wanted > len(train):
        raise DataError(
            f"--calibrate {wanted}: of {len(train):,} training rows, more would calibrate than train.",
            hint="Give a smaller number, or leave --calibrate out.",
        )
    most = max(1, wanted // 10)  # rows of a group: a larger one would calibrate for itself alone
    if drawn is not None:
        whole = np.bincount(drawn.groups)[drawn.groups]
        held = drawn.part > 0
        chosen = one_more(drawn.strata, drawn.groups, held, ~held & (whole <= most), wanted, options.seed)
        apart = np.isin(train, drawn.rows[chosen])
    else:
        apart = _at_random(_groups(frame, shape, train, decoded, options), wanted, most, options.seed)
    if apart.sum() < LEAST or 2 * apart.sum() > len(train) + wanted:
        raise DataError(
            f"--calibrate {options.calibrate}: only {int(apart.sum())} rows can be set apart. Rows of a group stay "
            f"together, and groups of more than {most} rows, a tenth of {wanted:,}, are not taken: each would "
            "calibrate for itself alone.",
            hint=f"Give a larger number if there are groups a little larger than {most}, or leave --calibrate out.",
        )
    note = (
        f"Set apart: {int(apart.sum()):,} of {len(train):,} training rows, drawn at random, calibrate prediction sets "
        "and serve nothing else."
    )
    return train[~apart], train[apart], note


def _groups(frame: Frame, shape: Shape, train: Indices, decoded: Decoded | None, options: ReadOptions) -> Indices:
    groups = alike(frame, shape, train, decoded)
    return groups if options.group is None else merged(groups, named_groups(frame, options.group, train))


def _at_random(groups: Indices, wanted: int, most: int, seed: int) -> NDArray[np.bool_]:
    """Rows of whole groups: of a test split that was given nothing is known but that its rows are like these."""
    sizes = np.bincount(groups)
    order = np.random.default_rng((seed, 77)).permutation(len(sizes))
    order = order[sizes[order] <= most]
    return np.isin(groups, order[: int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1])
