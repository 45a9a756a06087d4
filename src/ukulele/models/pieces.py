"""Tokenizers of Marian's folders: two SentencePiece models, source.spm and target.spm, and the numbers in vocab.json.

The files are read as the protocol buffers they are, and made into tokenizers of the `tokenizers` library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ukulele.errors import ModelError

NORMAL, UNIGRAM = 1, 1  # kind of a piece, kind of a model
NEVER = -1e6  # score of a word that the other language has
SPACE = "▁"


@dataclass(frozen=True)
class Pieces:
    """What a SentencePiece model says."""

    scores: Mapping[str, float]  # of pieces that texts are made of
    charsmap: bytes  # how characters are normalised
    prefix: bool  # whether a space is put in front
    squeezes: bool  # whether spaces that follow each other are one


def read(path: Path) -> Pieces:
    """A SentencePiece model.

    Raises
    ------
    ModelError
        If the file is damaged or of another kind.
    """
    scores: dict[str, float] = {}
    charsmap, prefix, squeezes, kind = b"", True, True, UNIGRAM
    try:
        for field, value in fields(path.read_bytes()):
            match field:
                case 1:
                    told = dict(fields(value))
                    if told.get(3, NORMAL) == NORMAL:
                        scores[told[1].decode()] = told.get(2, 0.0)
                case 2:
                    kind = dict(fields(value)).get(3, UNIGRAM)
                case 3:
                    told = dict(fields(value))
                    charsmap = told.get(2, b"")
                    prefix, squeezes = bool(told.get(3, 1)), bool(told.get(4, 1))
    except (IndexError, struct.error, UnicodeDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{path} is no SentencePiece model: {error}.", hint="Copy it again.") from error
    if kind != UNIGRAM or not scores:
        raise ModelError(
            f"{path} is a SentencePiece model of a kind that cannot be read.",
            hint="Put the model's tokenizer.json beside its config.json.",
        )
    return Pieces(scores, charsmap, prefix, squeezes)


def fields(content: bytes) -> Iterator[tuple[int, Any]]:
    r"""The fields of a protocol buffer's message: number, and an integer, a float or bytes.

    >>> list(fields(b"\x08\x96\x01\x12\x02hi"))
    [(1, 150), (2, b'hi')]
    """
    at = 0

    def varint() -> int:
        nonlocal at
        found = shift = 0
        while True:
            byte = content[at]
            at += 1
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7

    while at < len(content):
        key = varint()
        match key & 7:
            case 0:
                yield key >> 3, varint()
            case 1:
                yield key >> 3, struct.unpack_from("<d", content, at)[0]
                at += 8
            case 2:
                size = varint()
                if at + size > len(content):
                    raise IndexError("it ends too early")
                yield key >> 3, content[at : at + size]
                at += size
            case 5:
                yield key >> 3, struct.unpack_from("<f", content, at)[0]
                at += 4
            case other:
                raise IndexError(f"a field of the wire type {other}")


def tokenizer(pieces: Pieces, numbers: Mapping[str, int], special: tuple[str, ...]) -> bytes:
    """tokenizer.json of a model whose words have other numbers than its pieces."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = [""] * (max(numbers.values()) + 1)
    for word, number in numbers.items():
        words[number] = word
    vocabulary = [(word or f"<unused {at}>", pieces.scores.get(word, NEVER)) for at, word in enumerate(words)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=numbers.get("<unk>")))
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.squeezes:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if steps:
        made.normalizer = normalizers.Sequence(steps)
    scheme = "always" if pieces.prefix else "never"
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    made.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in special if word in numbers])
    content: str = made.to_str()
    return content.encode()
