"""What all heads that write share: the loss of each row's tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from ukulele.types import Loss

IGNORED = -100  # a label that is not taught


def token_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Loss:
    """Cross-entropy in nats, summed over each row's tokens, and how many those are.

    Parameters
    ----------
    logits
        (rows, tokens, vocabulary), of the same places as the labels.
    labels
        (rows, tokens); `IGNORED` counts for nothing.
    smoothing
        Share of the target that is spread over the whole vocabulary (Szegedy et al., 2016).
    """
    rows, tokens = labels.shape
    losses = cross_entropy(
        logits.reshape(rows * tokens, -1).float(),
        labels.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return Loss(losses.view(rows, tokens).sum(1), (labels != IGNORED).sum(1))
