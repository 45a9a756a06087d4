"""Models without pre-training, the cheap controls: the majority, TF-IDF of words, histograms of pictures.

They have no stages: a linear head stands straight on what `encode` gives.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import log
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ukulele.errors import ModelError
from ukulele.tools.pictures import open_picture
from ukulele.types import Card, Field, Model, Request, Rows, Tensors

Encode: TypeAlias = Callable[[Sequence[tuple[Any, ...]], Sequence[int]], list[Tensors]]

FAMILY = "classical"
CARD = Card(origin="built in", source_task="none: it learns from the training rows alone", licence="Apache-2.0")
POOLED = {"pooled": Field()}
TERMS = {"index": Field("term"), "value": Field("term")}
VOCABULARY = "vocabulary.json"

WORD = re.compile(r"\w+")
MOST_TERMS = 400_000  # in the vocabulary, the most frequent
SIDE, CELL, ANGLES, SHADES = 96, 16, 9, 4  # pixels, pixels, orientations, levels of a colour channel


def load(request: Request) -> Model:
    """The control of a name: "majority", "tfidf" or "histogram".

    Raises
    ------
    ModelError
        If there is no such control, or TF-IDF is asked for without rows to learn its vocabulary from.
    """
    recipe = {"family": FAMILY, "name": request.name, "inputs": request.inputs}
    if request.name != "tfidf":
        return build(recipe, {})
    if request.rows is None:
        raise ModelError("tfidf learns its vocabulary from the training rows, and was given none.")
    terms, weights = learn_terms(request.rows)
    content = json.dumps({"terms": terms, "weights": weights}, ensure_ascii=False).encode()
    return build(recipe, {VOCABULARY: content})


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes]) -> Model:
    """The control that a recipe and its assets describe.

    Raises
    ------
    ModelError
        If the recipe names no control, or its vocabulary is missing or damaged.
    """
    match recipe.get("name"):
        case "majority":
            return _model(recipe, _constant, POOLED, 1)
        case "histogram":
            width = len(histogram(np.zeros((SIDE, SIDE, 3), np.uint8)))
            return _model(recipe, _histograms, POOLED, width)
        case "tfidf":
            words = _words(recipe, assets)
            return _model(recipe, partial(_weigh, words=words), TERMS, words.width, assets)
        case other:
            raise ModelError(f"there is no control {other!r}.", hint="Controls: majority, tfidf, histogram.")


def _model(
    recipe: Mapping[str, Any],
    encode: Encode,
    inputs: Mapping[str, Field],
    width: int,
    assets: Mapping[str, bytes] | None = None,
) -> Model:
    return Model(
        name=str(recipe["name"]),
        net=nn.Identity(),
        encode=encode,
        inputs=inputs,
        stages=(),
        width=width,
        summary=_pooled,
        recipe=recipe,
        card=CARD,
        assets=assets or {},
    )


def _pooled(live: Tensors) -> Tensor:
    return live["pooled"]


def _constant(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
    """Knows nothing of the row: a fitted head on it is the majority class, or the mean."""
    return [{"pooled": torch.ones(1)} for _ in zip(inputs, draws, strict=True)]


# ---------------------------------------------------------------- words


def terms_of(text: str) -> list[str]:
    """Words and pairs of neighbouring words, in lower case.

    >>> terms_of("Not bad, Jim")
    ['not', 'bad', 'jim', 'not bad', 'bad jim']
    """
    words = WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def learn_terms(rows: Rows) -> tuple[list[str], list[float]]:
    """The vocabulary of some rows and each term's smoothed inverse document frequency."""
    frequency: Counter[str] = Counter()
    texts = 0
    for row in rows:
        for text in row.inputs:
            frequency.update(set(terms_of(text)))
            texts += 1
    kept = sorted(term for term, _ in frequency.most_common(MOST_TERMS))
    return kept, [log((1 + texts) / (1 + frequency[term])) + 1 for term in kept]


@dataclass(frozen=True)
class Words:
    """A vocabulary at work. Texts of a pair have a block of terms each, and a third for what they share.

    Among pairs a row of one text fills the first block alone.
    """

    places: Mapping[str, int]
    weights: NDArray[np.float64]
    texts: int

    @property
    def width(self) -> int:
        """Features a row."""
        return self.size if self.texts == 1 else 3 * self.size + len(PAIR)

    @property
    def size(self) -> int:
        """Terms, and one that never occurs: it stands for an empty text."""
        return len(self.places) + 1

    def vector(self, text: str) -> dict[int, float]:
        """Terms by number: (1 + log count) x idf, of unit length."""
        counts = Counter(place for term in terms_of(text) if (place := self.places.get(term)) is not None)
        found = {place: (1 + log(n)) * self.weights[place] for place, n in counts.items()}
        norm = sum(value * value for value in found.values()) ** 0.5
        return {place: value / norm for place, value in found.items()}


PAIR = ("cosine", "share of words", "difference of lengths", "words of the first", "words of the second", "numbers")


def _pair_features(texts: Sequence[str], cosine: float) -> list[float]:
    """How alike two texts are without regard to which words they use, named in `PAIR`."""
    first, second = (set(WORD.findall(text.lower())) for text in texts)
    shared, either = first & second, first | second
    numbers = {word for word in first ^ second if word.isdigit()}
    longest = max(len(first), len(second), 1)
    return [
        cosine,
        len(shared) / max(len(either), 1),
        abs(len(first) - len(second)) / longest,
        len(shared) / max(len(first), 1),
        len(shared) / max(len(second), 1),
        float(not numbers),
    ]


def _weigh(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int], words: Words) -> list[Tensors]:
    """Sparse rows: the numbers of the features that are not zero, and their values."""
    return [_sparse(texts, words) for texts, _ in zip(inputs, draws, strict=True)]


def _sparse(texts: Sequence[str], words: Words) -> Tensors:
    vectors = [words.vector(text) for text in texts]
    found = {block * words.size + place: v for block, vector in enumerate(vectors) for place, v in vector.items()}
    if len(texts) == 2:
        shared = {place: vectors[0][place] * vectors[1][place] for place in vectors[0].keys() & vectors[1].keys()}
        found |= {2 * words.size + place: value for place, value in shared.items()}
        extras = _pair_features(texts, sum(shared.values()))
        found |= {3 * words.size + place: value for place, value in enumerate(extras)}
    index = sorted(found) or [words.size - 1]
    return {"index": torch.tensor(index), "value": torch.tensor([found.get(place, 0.0) for place in index])}


def _words(recipe: Mapping[str, Any], assets: Mapping[str, bytes]) -> Words:
    try:
        plain = json.loads(assets[VOCABULARY])
        places = {term: place for place, term in enumerate(plain["terms"])}
        return Words(places, np.array(plain["weights"], np.float64), int(recipe["inputs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the vocabulary of tfidf is missing or damaged: {error!r}.") from error


# ---------------------------------------------------------------- pictures


def _histograms(inputs: Sequence[tuple[Any, ...]], draws: Sequence[int]) -> list[Tensors]:
    """Colour histograms and histograms of oriented gradients, one vector a picture."""
    from PIL.Image import Resampling

    found = []
    for (source, *_), _draw in zip(inputs, draws, strict=True):
        picture = open_picture(source, at_least=SIDE).resize((SIDE, SIDE), Resampling.BOX)
        found.append({"pooled": torch.from_numpy(histogram(np.asarray(picture)))})
    return found


def histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a picture (96, 96, 3) of 8-bit RGB holds: colours of the whole and of its quarters, then gradients.

    Colours are counted in 4 x 4 x 4 bins and the square roots of their shares taken; gradients follow Dalal and
    Triggs (2005) with 16-pixel cells, 9 orientations and blocks of 2 x 2 cells.
    """
    return np.concatenate([_colours(pixels), _gradients(pixels)]).astype(np.float32)


def _colours(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    levels = pixels.astype(np.intp) * SHADES // 256
    codes = (levels[..., 0] * SHADES + levels[..., 1]) * SHADES + levels[..., 2]
    half = SIDE // 2
    quarters = [codes[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    counts = np.stack([np.bincount(part.ravel(), minlength=SHADES**3) for part in quarters])
    shares = np.concatenate([counts.sum(0, keepdims=True) / SIDE**2, counts / half**2])
    return np.asarray(np.sqrt(shares).ravel(), np.float64)


def _gradients(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    light = np.sqrt(pixels.astype(np.float64) / 255)
    down, across = np.zeros_like(light), np.zeros_like(light)
    down[1:-1], across[:, 1:-1] = light[2:] - light[:-2], light[:, 2:] - light[:, :-2]
    strongest = np.hypot(down, across).argmax(2)[..., None]  # of the three channels
    down, across = (np.take_along_axis(part, strongest, 2)[..., 0] for part in (down, across))
    strength, angle = np.hypot(down, across), (np.arctan2(down, across) % np.pi) * ANGLES / np.pi
    below = np.floor(angle).astype(np.intp)
    share = angle - below
    rows, columns = np.indices(light.shape[:2]) // CELL
    cells = SIDE // CELL
    start = (rows * cells + columns) * ANGLES
    counts = np.zeros(cells * cells * ANGLES)
    for bins, weights in ((below % ANGLES, 1 - share), ((below + 1) % ANGLES, share)):
        counts += np.bincount((start + bins).ravel(), (strength * weights).ravel(), len(counts))
    grid = counts.reshape(cells, cells, ANGLES)
    blocks = np.concatenate([grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]], 2)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3), 0.2)
    return np.asarray((blocks / (np.linalg.norm(blocks, axis=2, keepdims=True) + 1e-3)).ravel(), np.float64)
