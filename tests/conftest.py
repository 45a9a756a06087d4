"""Shared by all tests: no cache of the user's is touched, `uke` in this process, tiny models made in an instant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e_kit import Answer, environment

from ukulele.types import Row, Where

collect_ignore_glob = ["*conftest.py"]  # they hold no doctests, and several have the same name

WORDS = ["good", "bad", "fine", "awful", "tea", "rain", "song", "string", *(f"w{i}" for i in range(52))]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
DISTILBERT = {
    "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip


class ListRows(list[Row]):
    """Rows in memory, for tests of what only looks at rows."""

    groups = None

    def take(self, indices: Sequence[int]) -> ListRows:
        return ListRows(self[int(i)] for i in indices)

    def column(self, name: str) -> list[Any]:
        return [row.targets[name] for row in self]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A feature cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("UKULELE_CACHE", str(folder))
    return folder


@pytest.fixture
def uke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Answer]:
    """`uke` in this process."""
    from ukulele import cli

    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UKULELE_DEBUG", "")  # --debug sets it: here it is put back

    def run(*args: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["uke", *map(str, args)])
        capsys.readouterr()
        code = cli.answer(sys.argv[1:])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads; tiny models are faster with one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def special_tokens(model_type: str) -> list[str]:
    """The first words of the vocabulary, in the order of their ids."""
    if model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        return ["<s>", "<pad>", "</s>", "<unk>"]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_tokenizer(folder: Path, model_type: str) -> None:
    """A tokenizer of whole words with the family's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = special_tokens(model_type)
    first, last = (special[0], special[2]) if special[0] == "<s>" else (special[2], special[3])
    unknown = special[3] if special[0] == "<s>" else special[1]
    numbers = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(first, numbers[first]), (last, numbers[last])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def tiny_config(model_type: str, **changes: Any) -> Any:
    """The family's configuration, made small."""
    from transformers import AutoConfig

    sizes = DISTILBERT if model_type == "distilbert" else SIZES
    own: dict[str, Any] = {
        "roberta": {"pad_token_id": 1, "max_position_embeddings": 66},
        "electra": {"embedding_size": 16},
        "modernbert": {
            "local_attention": 4,
            "num_hidden_layers": 4,
            "initializer_cutoff_factor": 3.0,
            "pad_token_id": 0,
        },
        "albert": {"embedding_size": 16, "pad_token_id": 0},
    }.get("roberta" if special_tokens(model_type)[0] == "<s>" else model_type, {})
    vocabulary = len(special_tokens(model_type)) + len(WORDS)
    return AutoConfig.for_model(model_type, **{**sizes, **own, "vocab_size": 2 * vocabulary, **changes})


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of a tiny text encoder with random weights: encoder_folder("bert", hidden_size=16); or, with
    `auto`, of another network of that family.
    """
    made: dict[str, Path] = {}

    def make(model_type: str = "bert", auto: str = "AutoModel", **changes: Any) -> Path:
        key = json.dumps([model_type, auto, changes], sort_keys=True)
        if key not in made:
            import torch
            import transformers

            folder = tmp_path_factory.mktemp(model_type)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                getattr(transformers, auto).from_config(tiny_config(model_type, **changes)).save_pretrained(folder)
            write_tokenizer(folder, model_type)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture
def texts() -> Callable[..., list[str]]:
    """Makes texts of random words, lengths between `shortest` and `longest`: texts(10, seed=1)."""

    def make(count: int, seed: int = 0, shortest: int = 1, longest: int = 12) -> list[str]:
        draw = np.random.default_rng(seed)
        return [" ".join(draw.choice(WORDS, draw.integers(shortest, longest + 1))) for _ in range(count)]

    return make


@pytest.fixture
def make_rows() -> Callable[..., ListRows]:
    """Makes rows of texts, pairs or pictures with the target "mood"."""

    def make(inputs: Sequence[Any], labels: Sequence[Any] | None = None) -> ListRows:
        given = labels if labels is not None else [None] * len(inputs)
        return ListRows(
            Row(one if isinstance(one, tuple) else (one,), {"mood": label}, Where("made.csv", line))
            for line, (one, label) in enumerate(zip(inputs, given, strict=True), 2)
        )

    return make


@pytest.fixture
def mood_rows(make_rows: Callable[..., ListRows], texts: Callable[..., list[str]]) -> Callable[..., ListRows]:
    """Makes labelled texts: "good" where a good word outweighs the bad ones, so that there is something to learn."""

    def make(count: int, seed: int = 0) -> ListRows:
        words = [f"{'good fine' if i % 2 else 'bad awful'} {text}" for i, text in enumerate(texts(count, seed))]
        return make_rows(words, ["good" if i % 2 else "bad" for i in range(count)])

    return make
