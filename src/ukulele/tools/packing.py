"""Short rows of a batch side by side in lines, instead of padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ukulele.types import Field, Tensors


def lines(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Rows, the longest first, each into the first line that has room for it.

    >>> lines([3, 9, 5, 2], 9)
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable").tolist()
    found: list[list[int]] = []
    left: list[int] = []
    for row in order:
        at = next((at for at, free in enumerate(left) if free >= lengths[row]), None)
        if at is None:
            found.append([row])
            left.append(room - lengths[row])
        else:
            found[at].append(row)
            left[at] -= lengths[row]
    return found


def packed(batch: Tensors, fields: Mapping[str, Field], axis: str) -> Tensors:
    """A padded batch whose fields are all ragged along `axis`, in as few lines of the longest row's length as go.

    The mask is n at the n-th row of a line and 0 where there is padding. A batch that would have as many lines as it
    has rows stays as it is.

    >>> packed({"ids": torch.tensor([[5, 6, 7], [8, 0, 0], [9, 3, 0]]),
    ...         "token_mask": torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]])}, {"ids": Field("token")}, "token")
    {'ids': tensor([[5, 6, 7],
            [9, 3, 8]]), 'token_mask': tensor([[1, 1, 1],
            [1, 1, 2]])}
    """
    mask = batch[f"{axis}_mask"]
    lengths = mask.sum(1).tolist()
    found = lines(lengths, mask.shape[1])
    if len(found) == len(lengths):
        return batch
    rows = torch.tensor([row for line in found for row in line])
    sizes = torch.tensor(lengths)[rows]
    line = torch.tensor([number for number, some in enumerate(found) for _ in some]).repeat_interleave(sizes)
    ordinal = torch.tensor([place for some in found for place in range(1, len(some) + 1)]).repeat_interleave(sizes)
    within = torch.arange(len(line)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    starts = torch.tensor([start for some in found for start in _starts([lengths[row] for row in some])])
    place, source = within + starts.repeat_interleave(sizes), rows.repeat_interleave(sizes)
    made: Tensors = {}
    for name, field in fields.items():
        value = batch[name]
        target = value.new_full((len(found), mask.shape[1], *value.shape[2:]), field.pad)
        target[line, place] = value[source, within]
        made[name] = target
    made[f"{axis}_mask"] = mask.new_zeros(len(found), mask.shape[1]).index_put((line, place), ordinal.to(mask.dtype))
    return made


def _starts(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:at]) for at in range(len(sizes))]
