"""Texts to tokens and back, for models that write: a tokenizer that was loaded, or learned from the rows.

Special tokens are left to the families: `ids` gives none of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukulele.errors import ModelError
from ukulele.types import Rows

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

FILE, MARKS, ANSWERS = "tokenizer.json", "marks.json", "tokenizer-answers.json"
SPECIAL = {"pad": "<pad>", "eos": "</s>", "bos": "<s>", "unk": "<unk>"}  # of a tokenizer that is learned
SIZE = 8000  # tokens of a vocabulary that is learned, at most
ROWS_A_TOKEN = 4  # a vocabulary has at most one token for so many rows' texts, beside bytes and special ones
PAIR = ("source.spm", "target.spm")
CODED = re.compile(r">>\w+<<")  # what tells a Marian model of several targets which
CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}|__[a-z]{2,3}__")  # of a language
LANGUAGES = {
    "ar": "arb", "bg": "bul", "cs": "ces", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "es": "spa",
    "et": "est", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "id": "ind",
    "it": "ita", "ja": "jpn", "ko": "kor", "lt": "lit", "lv": "lvs", "nl": "nld", "no": "nob", "pl": "pol",
    "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv", "sv": "swe", "th": "tha", "tr": "tur",
    "uk": "ukr", "vi": "vie", "zh": "zho",
}  # ISO 639-1 to 639-3  # fmt: skip


@dataclass(frozen=True)
class Words:
    """A tokenizer, and the numbers of its special tokens by their roles."""

    content: bytes  # tokenizer.json
    marks: Mapping[str, int | None]  # "pad", "eos", "bos", "unk"
    other: bytes | None = None  # tokenizer.json of the answers, where they have one of their own

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """At work: it neither cuts nor pads."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.content.decode())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def answers(self) -> Words:
        """The tokenizer of the answers: mostly the same."""
        return self if self.other is None else Words(self.other, self.marks)

    @property
    def pad(self) -> int:
        """What fills a batch up: it is always masked, so where there is none the end of a text does."""
        return self._mark("pad", "eos")

    @property
    def eos(self) -> int:
        """The end of a text."""
        return self._mark("eos", "eos")

    @property
    def bos(self) -> int:
        """The beginning; the end's where there is none."""
        return self._mark("bos", "eos")

    @property
    def unknown(self) -> int | None:
        """The token for what has no pieces; None where every byte has some."""
        return unknown_id(self.content)

    @property
    def size(self) -> int:
        """Tokens in all."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def assets(self) -> dict[str, bytes]:
        """What a bundle has to carry."""
        own = {} if self.other is None else {ANSWERS: self.other}
        return {FILE: self.content, MARKS: json.dumps(dict(self.marks)).encode(), **own}

    def id(self, token: str) -> int | None:
        """The number of a token."""
        found: int | None = self.tokenizer.token_to_id(token)
        return found

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """Texts as the library has them, without special tokens."""
        found: list[Encoding] = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return found

    def ids(self, texts: Sequence[str], most: int | None = None) -> list[list[int]]:
        """The tokens of each text, the first `most` of them."""
        return [list(one.ids)[:most] for one in self.encodings(texts)]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many each text has."""
        return [len(one) for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def taught(self, texts: Sequence[str], most: int) -> list[tuple[list[int], int]]:
        """The first `most` tokens of each text, and how many bytes of it (UTF-8) they spell: none those that stand for
        what is unknown.
        """
        found, nothing = [], self.unknown
        for text, one in zip(texts, self.encodings(texts), strict=True):
            kept = text if len(one.ids) <= most else text[: one.offsets[most - 1][1]] if most else ""
            ids = list(one.ids)[:most]
            missed = [text[slice(*one.offsets[at])] for at, token in enumerate(ids) if token == nothing]
            found.append((ids, len(kept.encode()) - len("".join(missed).encode())))
        return found

    def text(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special ones left out."""
        found: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return found

    @property
    def coded(self) -> bool:
        """Whether texts begin with the code of the language that is wanted, as those of some Marian models do."""
        return any(CODED.fullmatch(code) for code in self.languages)

    def language(self, code: str) -> int | None:
        """The token of a language, by the model's own code or by ISO 639-1: "en", "en_XX", "eng_Latn", "__en__" or
        ">>eng<<".
        """
        added = {token.content: n for n, token in self.tokenizer.get_added_tokens_decoder().items()}
        ways = (code, f"__{code}__", f">>{code}<<", f">>{LANGUAGES.get(code.lower(), code)}<<")
        if exact := [added[way] for way in ways if way in added]:
            return exact[0]
        near = self.of_language(code)
        return self.languages[near[0]] if len(near) == 1 else None

    def of_language(self, code: str) -> list[str]:
        """The codes of a language by ISO 639-1, where a model has several: "zho_Hans" and "zho_Hant" of "zh"."""
        starts = (f"{code.lower()}_", f"{LANGUAGES.get(code.lower(), code.lower())}_")
        return [token for token in self.languages if token.lower().startswith(starts)]

    @property
    def languages(self) -> dict[str, int]:
        """Tokens that look like codes of languages: "en_XX", "eng_Latn", "__en__", ">>eng<<"."""
        added = self.tokenizer.get_added_tokens_decoder()
        codes = ((token.content, number) for number, token in sorted(added.items()))
        return {code: number for code, number in codes if CODE.fullmatch(code) or CODED.fullmatch(code)}

    def _mark(self, name: str, other: str) -> int:
        found = self.marks.get(name)
        found = self.marks.get(other) if found is None else found
        if found is None:
            unset = " and ".join(dict.fromkeys((name, other)))
            raise ModelError(
                f"the tokenizer has no token for the end of a text ({unset} not set).",
                hint='Name it in the model\'s config.json: "eos_token_id".',
            )
        return found


@lru_cache(8)
def unknown_id(tokenizer: bytes | None) -> int | None:
    """The token of a tokenizer.json for what it does not know; None where it knows every byte."""
    model: dict[str, Any] = json.loads(tokenizer)["model"] if tokenizer else {}
    if isinstance(number := model.get("unk_id"), int):
        return number
    vocabulary, token = model.get("vocab"), model.get("unk_token")
    return vocabulary.get(token) if isinstance(vocabulary, dict) and token else None


def from_assets(assets: Mapping[str, bytes]) -> Words:
    """Those that a bundle carries."""
    return Words(assets[FILE], json.loads(assets[MARKS]), assets.get(ANSWERS))


def load(folder: Path, config: Any) -> Words:
    """The tokenizer of a model's folder, its special tokens as the model's configuration and its own say.

    Raises
    ------
    ModelError
        If there is none that can be used.
    """
    from ukulele.models import hub

    if (folder / PAIR[0]).is_file() and not (folder / FILE).is_file():
        return _pair(folder, config)
    content = hub.tokenizer_json(folder)
    bare = Words(content, {})
    told = {**hub.settings(folder / "special_tokens_map.json"), **hub.settings(folder / "tokenizer_config.json")}

    def number(role: str) -> int | None:
        token = told.get(f"{role}_token")
        token = token.get("content") if isinstance(token, Mapping) else token
        found = bare.id(token) if isinstance(token, str) else None
        given = getattr(config, f"{role}_token_id", None)
        given = given[0] if isinstance(given, list) and given else given
        return given if isinstance(given, int) and role != "unk" else found

    return Words(content, {role: number(role) for role in SPECIAL})


def _pair(folder: Path, config: Any) -> Words:
    """The two tokenizers of a Marian model: its words have their numbers in vocab.json, or in one for each side."""
    from ukulele.models import hub, pieces

    missing = [name for name in (PAIR[1], "vocab.json") if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} has {PAIR[0]} but not {', '.join(missing)}.", hint="Copy the folder again.")
    numbers = hub.settings(folder / "vocab.json")
    theirs = hub.settings(folder / "target_vocab.json") or numbers
    special = tuple(word for word in {**numbers, **theirs} if word in SPECIAL.values() or CODED.fullmatch(word))
    source, target = (
        pieces.tokenizer(pieces.read(folder / name), known, special)
        for name, known in zip(PAIR, (numbers, theirs), strict=True)
    )
    roles = {"pad": numbers.get("<pad>"), "eos": numbers.get("</s>"), "bos": None, "unk": numbers.get("<unk>")}
    told = {"pad": config.pad_token_id, "eos": config.eos_token_id}
    return Words(source, {role: told.get(role) if roles[role] is None else roles[role] for role in roles}, target)


def learn(rows: Rows, size: int | None = None) -> Words:
    """A tokenizer learned from rows, inputs and answers alike: byte-level BPE, so no text is foreign to it.

    Sennrich et al., 2016, arXiv:1508.07909.

    Parameters
    ----------
    rows
        Of training.
    size
        Tokens at most; by default 8,000, and fewer where the rows are few.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    least = 256 + len(SPECIAL)
    most = SIZE if size is None else size
    trainer = trainers.BpeTrainer(
        vocab_size=max(least, min(most, least + ROWS_A_TOKEN * len(rows))) if size is None else max(least, size),
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(rows), trainer)
    marks = {role: tokenizer.token_to_id(token) for role, token in SPECIAL.items()}
    return Words(tokenizer.to_str().encode(), marks)


def _texts(rows: Rows) -> Iterator[str]:
    for row in rows:
        yield from (value for value in (*row.inputs, *row.targets.values()) if isinstance(value, str))
