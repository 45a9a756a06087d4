"""Rows to batches and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from ukulele.types import Field, Tensors


def collate(rows: Sequence[Tensors], fields: Mapping[str, Field]) -> Tensors:
    """Rows as one padded batch, with a mask for every ragged axis.

    >>> collate([{"ids": torch.tensor([5, 6])}, {"ids": torch.tensor([7])}], {"ids": Field("token")})["token_mask"]
    tensor([[1, 1],
            [1, 0]])
    """
    batch: Tensors = {}
    for name, field in fields.items():
        values = [row[name] for row in rows]
        if field.axis is None:
            batch[name] = torch.stack(values)
            continue
        batch[name] = pad_sequence(values, batch_first=True, padding_value=field.pad)
        mask = f"{field.axis}_mask"
        if mask not in batch:
            lengths = torch.tensor([len(value) for value in values])
            batch[mask] = (torch.arange(batch[name].shape[1]) < lengths[:, None]).long()
    return batch


def separate(batch: Tensors, fields: Mapping[str, Field]) -> list[Tensors]:
    """The inverse of `collate`: rows without padding, as views of the batch."""
    lengths = {f.axis: batch[f"{f.axis}_mask"].sum(1).tolist() for f in fields.values() if f.axis}
    size = len(batch[next(iter(fields))])
    return [
        {n: batch[n][i] if f.axis is None else batch[n][i, : lengths[f.axis][i]] for n, f in fields.items()}
        for i in range(size)
    ]


def widen(live: Tensors) -> Tensors:
    """Stored bf16 as float32: what is trained runs in the loop's own precision."""
    return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in live.items()}
