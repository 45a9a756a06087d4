"""What a Python call gives a model: one row or many, and the numbers of its decoding by the command line's words."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ukulele.errors import DataError, PlanError
from ukulele.trial.predict import Grouped, Predictor

NAMES = {"conf": "confidence", "iou": "overlap", "max_new_tokens": "tokens"}  # where the task has another word
SHARES = ("confidence", "overlap", "top_p")
WHOLE = {"beams": 1, "tokens": 1, "seed": 0}  # with the least
LEAST = {"temperature": 0, "seconds": 0}
WORDS = ("confidence", "overlap", "beams", "temperature", "top_p", "max_new_tokens", "seconds", "seed")
PICTURE = "A picture is a path, the bytes of a file, a PIL image, or an array of height × width × 3, uint8."


def with_decoding(predictor: Predictor | Grouped, words: Mapping[str, Any]) -> Predictor | Grouped:
    """The model with other numbers of its decoding; the one that is given stays as it is.

    Raises
    ------
    PlanError
        If a word is unknown, a number is out of its range, or a task has no such number.
    """
    changed = numbers(words)
    if not changed:
        return predictor
    if isinstance(predictor, Grouped):
        return Grouped([copy(member).decoding(**changed) for member in predictor.members])
    return copy(predictor).decoding(**changed)


def numbers(words: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a decoding, by their names in a task; None is as it was.

    Raises
    ------
    PlanError
        If a word is unknown, or a number is out of its range.

    Examples
    --------
    >>> numbers({"conf": 0.5, "max_new_tokens": 20, "seed": None})
    {'confidence': 0.5, 'tokens': 20}
    """
    found: dict[str, Any] = {}
    for word, value in words.items():
        name = NAMES.get(word, word)
        if word not in (*WORDS, *NAMES):
            raise PlanError(f"predict({word}=…): there is no such option.", hint=f"Choose among {', '.join(WORDS)}.")
        if value is None:
            continue
        if not _fits(name, value):
            raise PlanError(f"predict({word}={value!r}): {_expected(name)} was expected.")
        found[name] = int(value) if name in WHOLE else float(value)
    if "top_p" in found and not found.get("temperature"):
        raise PlanError("predict(top_p=…) without temperature: nothing is drawn.", hint="Add temperature=0.8.")
    return found


def _expected(name: str) -> str:
    if name in WHOLE:
        return f"a whole number from {WHOLE[name]} on"
    return "a number from 0 to 1" if name in SHARES else f"a number from {LEAST[name]} on"


def _fits(name: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if name in WHOLE else Real):
        return False
    number = float(value)
    return 0 <= number <= 1 if name in SHARES else number >= (WHOLE | LEAST)[name]


def listed(given: Any, modality: str) -> Any:
    """A source of rows: a file or a table as it is, else a list; what is one row is a list of it.

    Raises
    ------
    DataError
        If it is nothing that can be asked, or holds something that the model does not take.

    Examples
    --------
    >>> listed("one text", "text"), listed(("a", "b"), "text")
    (['one text'], ['a', 'b'])
    """
    if isinstance(given, Path) or hasattr(given, "columns"):
        return given
    single = isinstance(given, str | bytes | bytearray | Mapping) or _is_picture(given)
    if single or (_is_array(given) and len(given.shape) in {2, 3}):
        return [_row(given, modality, "")]
    try:
        items = list(given)
    except TypeError:
        raise DataError(f"{type(given).__name__} was given: rows were expected.", hint=_takes(modality)) from None
    return [_row(item, modality, f"item {at}: ") for at, item in enumerate(items, 1)]


def _row(item: Any, modality: str, where: str) -> Any:
    """An item as the readers take it."""
    array = _is_array(item)
    if modality != "image" and (array or isinstance(item, bytes | bytearray) or _is_picture(item)):
        raise DataError(f"{where}{type(item).__name__} was given: the model takes texts.", hint=_takes(modality))
    if not array:
        return bytes(item) if isinstance(item, bytearray) else item
    if str(item.dtype) != "uint8" or len(item.shape) != 3 or item.shape[2] != 3:
        shape = " × ".join(map(str, item.shape))
        raise DataError(f"{where}an array of {shape}, {item.dtype}, is no picture.", hint=PICTURE)
    import PIL.Image

    return PIL.Image.fromarray(item)


def _takes(modality: str) -> str:
    if modality == "image":
        return f"Give one picture, a list of them, a table, or the Path of a file of rows. {PICTURE}"
    return "Give one text, a list of texts, pairs or dicts, a table, or the Path of a file of rows."


def _is_picture(value: Any) -> bool:
    return hasattr(value, "save") and hasattr(value, "convert")


def _is_array(value: Any) -> bool:
    """Whether it is an array or a tensor of numbers, rather than of texts."""
    numeric = hasattr(value, "dtype") and getattr(value.dtype, "kind", "f") not in "OUS"
    return numeric and len(getattr(value, "shape", ())) > 1
