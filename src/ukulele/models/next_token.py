"""The head of a decoder: what the next token is, and how a text goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.models.generation import generate
from ukulele.models.words import Words
from ukulele.types import Loss, Tensors, Writing, Written

ROOM = 1 << 25  # logits that are held at once where nothing is trained


class NextToken(nn.Module):
    """The vocabulary over the trunk. What is taught of a row, and what was asked, stand in the live values."""

    def __init__(self, net: nn.Module, words: Words, stops: Sequence[int], limit: int) -> None:
        super().__init__()
        self.lm_head: nn.Module = net.get_output_embeddings()  # type: ignore[operator]
        self._net, self.words, self._stops, self._limit = [net], words, list(stops), limit  # in a list: no submodule
        self._last: tuple[Tensor, Loss] | None = None  # where nothing is trained: the states, and what they cost

    def loss(self, live: Tensors, target: Tensors) -> Loss:
        """Cross-entropy of every row's taught tokens; of rows that stand in one line, of the line's."""
        del target
        if torch.is_grad_enabled():
            return self._computed(live)
        if self._last is None or self._last[0] is not live["x"]:  # who asks for losses often wants answers, too
            self._last = (live["x"], self._computed(live))
        return self._last[1]

    def _computed(self, live: Tensors) -> Loss:
        taught = live["taught"][:, 1:] > 0
        states, labels = live["x"][:, :-1][taught], live["ids"][:, 1:][taught]
        counts = taught.sum(1)
        losses = token_losses(self.lm_head, states, labels)
        row = torch.arange(len(taught), device=taught.device).repeat_interleave(counts)
        return Loss(losses.new_zeros(len(taught)).index_add(0, row, losses), counts)

    def predict(self, live: Tensors, decoding: Writing) -> list[Written]:
        """What each row's reference cost, where it has one, and, unless nothing is to be written, how it goes on."""
        loss, rows, self._last = self.loss(live, {}), self._rows(live), None
        texts = self.write([prompt for prompt, _ in rows], decoding) if decoding.tokens else [""] * len(rows)
        sizes = [len(self.words.text(taught).encode()) for _, taught in rows]
        nothing = float("nan")
        return [
            Written(text, total if count else nothing, count, size)
            for text, total, count, size in zip(texts, loss.sums.tolist(), loss.counts.tolist(), sizes, strict=True)
        ]

    def write(self, prompts: Sequence[list[int]], decoding: Writing, streamer: Any = None) -> list[str]:
        """How token ids go on, as texts, within what the model can look back on.

        A prompt is cut behind its first token where it would leave less room than is asked for, or than half of all.
        """
        self._net[0].eval()
        room = max(self._limit - decoding.tokens, self._limit // 2)
        kept = [ids if len(ids) <= room else [ids[0], *ids[len(ids) - room + 1 :]] for ids in prompts]
        width = max(map(len, kept))
        device = next(self.lm_head.parameters()).device
        ids = torch.tensor([[self._stops[0]] * (width - len(prompt)) + prompt for prompt in kept], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in kept], device=device)
        given = {"input_ids": ids, "attention_mask": mask}
        found = generate(
            self._net[0], given, decoding, self.words, most=self._limit - width, stops=self._stops, streamer=streamer
        )
        return [self.words.text(tokens) for tokens in found]

    def _rows(self, live: Tensors) -> list[tuple[list[int], list[int]]]:
        """Of each row what comes before the first token that is taught, and the tokens that are."""
        found = []
        for ids, taught, there in zip(
            live["ids"].tolist(), live["taught"].tolist(), live["token_mask"].sum(1).tolist(), strict=True
        ):
            marks = taught[:there]
            first = marks.index(1) if 1 in marks else there
            found.append((ids[:first], [token for token, mark in zip(ids[:there], marks, strict=True) if mark]))
        return found


def token_losses(lm_head: nn.Module, states: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (tokens,) in nats of states (tokens, width) against the tokens that follow."""
    weight: Any = lm_head.weight
    if not torch.is_grad_enabled() and len(states) * len(weight) > ROOM:
        size = max(1, ROOM // len(weight))
        parts = zip(torch.split(states, size), torch.split(labels, size), strict=True)
        return torch.cat([token_losses(lm_head, some, theirs) for some, theirs in parts])
    return CrossEntropy.apply(lm_head(states).float(), labels)  # type: ignore[no-any-return]


class CrossEntropy(torch.autograd.Function):
    """As the library's, one loss a row, in fewer passes over the logits: they are the largest tensor of a step."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (tokens, vocabulary) and labels (tokens,) to losses (tokens,)."""
        total = logits.logsumexp(1)
        ctx.save_for_backward(logits, total, labels)
        return total - logits.gather(1, labels[:, None])[:, 0]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        """Probabilities, less 1 at the label."""
        (given,) = upstream
        logits, total, labels = ctx.saved_tensors
        found = torch.sub(logits, total[:, None]).exp_().mul_(given[:, None])
        found.scatter_add_(1, labels[:, None], -given[:, None])
        return found, None
