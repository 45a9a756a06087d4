"""Training rows that are set apart to calibrate prediction sets, and serve nothing else."""

from __future__ import annotations

import numpy as np

from ukulele.data.assign import alike, named_groups
from ukulele.data.decoded import Decoded
from ukulele.data.frame import Frame, Indices
from ukulele.data.near import merged
from ukulele.data.options import ReadOptions
from ukulele.data.rows import Shape
from ukulele.errors import DataError

LEAST, MOST, SHARE = 100, 1000, 10  # `auto` takes every tenth training row, at most a thousand


def set_apart(
    frame: Frame, shape: Shape, train: Indices, decoded: Decoded | None, options: ReadOptions
) -> tuple[Indices, Indices, str]:
    """Training rows, those set apart, and a note on it: drawn at random, nearly identical rows and groups whole.

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
    groups = alike(frame, shape, train, decoded)
    if options.group is not None:
        groups = merged(groups, named_groups(frame, options.group, train))
    sizes = np.bincount(groups)
    order = np.random.default_rng((options.seed, 77)).permutation(len(sizes))
    order = order[sizes[order] <= max(1, wanted // 10)]  # one large group would calibrate for itself alone
    chosen = order[: int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1]
    apart = np.isin(groups, chosen)
    if apart.sum() < LEAST or 2 * apart.sum() > len(train) + wanted:
        raise DataError(
            f"--calibrate {options.calibrate}: only {int(apart.sum())} rows can be set apart, since rows of a group "
            "stay together.",
            hint="Leave --calibrate out.",
        )
    note = (
        f"Set apart: {int(apart.sum()):,} of {len(train):,} training rows, drawn at random, calibrate prediction sets "
        "and serve nothing else."
    )
    return train[~apart], train[apart], note
