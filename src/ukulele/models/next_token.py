"""The head of a decoder: what the next token is, and how a text goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ukulele.models.generation import generate, placed
from ukulele.models.passages import answer_at
from ukulele.models.speaking import Bend, taught_loss
from ukulele.models.words import Words
from ukulele.types import Loss, Tensors, Writing, Written

TAIL = 8  # tokens in front of new ones that tell how these read


class NextToken(nn.Module):
    """The vocabulary over the trunk. What is taught of a row, and what was asked, stand in the live values."""

    continues = True  # what it writes goes on from what it was given

    def __init__(self, net: nn.Module, words: Words, stops: Sequence[int], limit: int, bend: Bend) -> None:
        super().__init__()
        self.bend = bend
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
        return taught_loss(self.lm_head, live["x"][:, :-1], live["ids"][:, 1:], taught, bend=self.bend)

    def predict(self, live: Tensors, decoding: Writing) -> list[Written]:
        """What each row's reference cost, where it has one, and, unless nothing is to be written, how it goes on."""
        loss, rows, self._last = self.loss(live, {}), self._rows(live), None
        texts = self.write([prompt for prompt, _ in rows], decoding) if decoding.tokens else [""] * len(rows)
        sizes = [len(self.words.text(taught).encode()) for _, taught in rows]
        room = self.room(decoding) if decoding.tokens else self._limit
        unread = [max(0, len(prompt) - room) for prompt, _ in rows]
        nothing, sums, counts = float("nan"), loss.sums.tolist(), loss.counts.tolist()
        return [
            Written(text, total if count else nothing, count, size, left)
            for text, total, count, size, left in zip(texts, sums, counts, sizes, unread, strict=True)
        ]

    def write(self, prompts: Sequence[list[int]], decoding: Writing, streamer: Any = None) -> list[str]:
        """How token ids go on, as texts, within what the model can look back on.

        A prompt is cut behind its first token where it would leave less room than is asked for, or than half of all.
        """
        room = self.room(decoding)
        kept = [ids if len(ids) <= room else [ids[0], *ids[len(ids) - room + 1 :]] for ids in prompts]
        width = max(map(len, kept))
        device = next(self.lm_head.parameters()).device
        net = placed(self._net[0], device)
        ids = torch.tensor([[self._stops[0]] * (width - len(prompt)) + prompt for prompt in kept], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in kept], device=device)
        given = {"input_ids": ids, "attention_mask": mask}
        found = generate(
            net, given, decoding, self.words, most=self._limit - width, stops=self._stops, streamer=streamer
        )
        return [self.words.text(tokens) for tokens in found]

    def room(self, decoding: Writing) -> int:
        """Tokens of a prompt that are read."""
        return max(self._limit - decoding.tokens, self._limit // 2)

    def stream(self, row: Tensors, trunk: Callable[[], Tensors], decoding: Writing, streamer: Any) -> None:
        """Write for one row as `encode` gives it; `trunk`, what the stages make of it, is not needed."""
        del trunk
        self.write([row["ids"].tolist()], decoding, streamer)

    def speech(self, row: Tensors) -> Callable[[Sequence[int]], str]:
        """New tokens as they read behind a row's: many tokenizers drop the space in front of a text's first word."""
        tail = row["ids"].tolist()[-TAIL:]
        known = self.words.text(tail)
        return lambda ids: self.words.text([*tail, *ids])[len(known) :]

    def _rows(self, live: Tensors) -> list[tuple[list[int], list[int]]]:
        """Of each row what comes before its answer, the last tokens that are taught, and all tokens that are."""
        found = []
        for ids, taught, there in zip(
            live["ids"].tolist(), live["taught"].tolist(), live["token_mask"].sum(1).tolist(), strict=True
        ):
            marks = taught[:there]
            first = answer_at(marks)
            found.append((ids[:first], [token for token, mark in zip(ids[:there], marks, strict=True) if mark]))
        return found
