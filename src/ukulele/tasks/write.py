"""A text for a text: translations, summaries, continuations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ukulele.errors import ModelError
from ukulele.tasks import texts
from ukulele.types import Field, Head, Metric, Model, Tensors, Writing, Written

MOST, MORE = 512, 16  # tokens of a text that is written, at most; and beyond those of the longest answer known


@dataclass(frozen=True)
class Write:
    """A text. Answers, raw and final, are `Written`; true values are texts.

    The answer goes into the model with the inputs (`Model.teaches`), so there are no target tensors: what is taught,
    and how dear it was, is in the live values. `free`: the rows are plain text, of which only the loss counts.
    """

    fields: ClassVar[Mapping[str, Field]] = {}

    kind: Literal["translate", "summarise", "generate"]
    name: str
    metric: str
    free: bool = False
    decoding: Writing = field(default_factory=Writing)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the texts are worth beside the references, and what the references cost."""
        return texts.metrics(self.kind, self.free, self.metric)

    @property
    def judged(self) -> Write:
        """The same while training is judged on validation: only translations are written in every epoch, as they are
        short; elsewhere, and where the loss decides anyway, it decides which epoch is kept.
        """
        written = self.metric not in texts.OF_LOSS and self.kind == "translate"
        return self if written else replace(self, decoding=replace(self.decoding, tokens=0))

    def roomy(self, lengths: Sequence[int]) -> Write:
        """The same with room for answers of so many tokens, and a quarter more, as no longer one may be known yet."""
        room = min(MOST, max([self.decoding.tokens, *(length + length // 4 + MORE for length in lengths)]))
        return replace(self, decoding=replace(self.decoding, tokens=room))

    def target(self, value: Any) -> Tensors:  # noqa: ARG002 - it goes in with the inputs
        """Nothing."""
        return {}

    def head(self, model: Model) -> Head:
        """The head that the model brings.

        Raises
        ------
        ModelError
            If the model does not write.
        """
        if "write" not in model.heads:
            raise ModelError(
                f"{model.name} does not write texts.",
                hint="Name a model that does: a T5, BART, Marian or GPT-2 by hub id or folder, or config:t5-tiny.",
            )
        return model.heads["write"](self.kind)

    def decode(self, raw: Sequence[Any]) -> list[Written]:
        """The answers as they are."""
        return list(raw)

    def tuned(self, raw: Sequence[Any], values: Sequence[Any]) -> Write:  # noqa: ARG002 - nothing to tune
        """The same task."""
        return self

    def table(self, answers: Sequence[Any], values: Sequence[Any]) -> NDArray[np.float64]:
        """Row statistics: see tasks/texts.py."""
        return texts.table(self.kind, self.free, answers, values)

    def plain(self, answers: Sequence[Any]) -> list[dict[str, Any]]:
        """Final answers as plain data for people: the text."""
        return [{"output": answer.text} for answer in answers]
