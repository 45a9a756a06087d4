"""`uke predict --stream`: a text appears as it is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from ukulele.doors.show import say_cut
from ukulele.errors import PlanError
from ukulele.trial.predict import Grouped, load_model

UNFINISHED = "\ufffd"  # what a letter decodes to of which only some bytes are there yet


Text: TypeAlias = Callable[[Sequence[int]], str]  # how tokens read


class Speaker:
    """Says the tokens that it is given as text, as soon as whole letters are there."""

    def __init__(self, text: Text, say: Callable[[str], object]) -> None:
        self._text, self._say = text, say
        self._ids: list[int] = []
        self._said = ""
        self._began = False

    @property
    def count(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    def put(self, ids: Any) -> None:
        """Tokens, as a tensor; those of the first call are the prompt."""
        if not self._began:
            self._began = True
            return
        self._ids += ids.flatten().tolist()
        self._speak(self._text(self._ids))

    def end(self) -> None:
        """What is left."""
        self._speak(self._text(self._ids), whole=True)

    def _speak(self, text: str, *, whole: bool = False) -> None:
        if (whole or not text.endswith(UNFINISHED)) and len(text) > len(self._said):
            self._say(text[len(self._said) :])
            self._said = text


def stream_to(
    run: Path, prompts: Sequence[str], machine: tuple[str, str], err: Console, decoding: Mapping[str, Any]
) -> None:
    """Write each prompt and, token by token, how it goes on, or what it is translated or summed up to; how many
    tokens a second that were goes to `err`.

    Raises
    ------
    PlanError
        If the run's model does not write texts, or is asked for several at once.
    """
    if decoding.get("beams", 1) != 1:
        raise PlanError("--stream writes one text as it comes: beams follow several.", hint="Leave --beams out.")
    predictor = load_model(run, *machine)
    if isinstance(predictor, Grouped) or not all(hasattr(head, "stream") for head in predictor.heads.values()):
        raise PlanError(f"--stream: the model of {run} does not write texts.", hint="Leave --stream out.")
    predictor = predictor.decoding(**decoding)
    continues = any(getattr(head, "continues", False) for head in predictor.heads.values())

    def say(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    for prompt in prompts:
        speakers: list[Speaker] = []

        def speaker(text: Text, speakers: list[Speaker] = speakers) -> Speaker:
            speakers.append(Speaker(text, say))
            return speakers[0]

        say(prompt if continues else "")
        began = time.perf_counter()
        predictor.spoken(prompt, speaker)
        seconds, count = time.perf_counter() - began, speakers[0].count
        say("\n")
        say_cut(predictor.cut, 1, err)
        predictor.cut = 0
        err.print(f"{count} tokens in {seconds:.1f} s, {count / max(seconds, 1e-9):,.0f} tokens/s", markup=False)
