"""Marian's folders as they are published: source.spm, target.spm and vocab.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from text_kit import folder, pairs, request

from ukulele import models
from ukulele.errors import ModelError
from ukulele.models import words
from ukulele.models.bundle import read_bundle, write_bundle

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "The dog runs here.", "The  cat   sleeps outside.", "Ein Gaul singt „daheim“ …", "ﬁne ½ Ｗide", "unbekannt: ☃!", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("marian")
    sides = list(zip(*pairs(200), strict=True))
    known: list[str] = []
    for name, texts in zip(("source", "target"), sides, strict=True):
        (where / f"{name}.txt").write_text("\n".join(texts), "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(where / f"{name}.txt"), model_prefix=str(where / name), vocab_size=60, model_type="unigram",
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        (where / f"{name}.model").rename(where / f"{name}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(where / f"{name}.spm"))
        known += [model.id_to_piece(i) for i in range(model.get_piece_size()) if not model.is_control(i)]
    order = ["</s>", "<unk>", *sorted(set(known) - {"<unk>"}), "<pad>"]
    numbers = {word: number for number, word in enumerate(order)}
    made = folder(where / "model", "marian", vocab_size=len(numbers), pad_token_id=numbers["<pad>"], eos_token_id=0,
                  decoder_start_token_id=numbers["<pad>"], bos_token_id=None)  # fmt: skip
    (made / "tokenizer.json").unlink()
    (made / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    for name in ("source", "target"):
        (where / f"{name}.spm").rename(made / f"{name}.spm")
    return made


@pytest.mark.parametrize("side", ["source", "target"])
def test_texts_are_cut_as_sentencepiece_cuts_them(published: Path, side: str) -> None:
    model = models.load(request(published), "text")
    both = words.from_assets(model.assets)
    ours = both if side == "source" else both.answers
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(published / f"{side}.spm"))
    numbers = json.loads((published / "vocab.json").read_text("utf-8"))
    unknown = numbers["<unk>"]
    for text, found in zip(TEXTS, ours.ids(TEXTS), strict=True):
        pieces = [numbers.get(piece, unknown) for piece in theirs.encode(text, out_type=str)]
        known = [number for number in found if number != unknown]
        assert known == [number for number in pieces if number != unknown], text
    texts = [text for pair in pairs(20, 9) for text in pair[side == "target" :][:1]]
    assert [ours.text(found) for found in ours.ids(texts)] == texts


def test_both_tokenizers_stand_in_the_bundle(published: Path, tmp_path: Path) -> None:
    model = models.load(request(published), "text")
    head = model.heads["write"]("translate")
    write_bundle(tmp_path / "b", model, {"de": head}, {"tasks": {"de": {}}}, {"inputs": [], "answers": []})  # type: ignore[dict-item]
    again = read_bundle(tmp_path / "b", models.build).model
    (before,), (after,) = (one.encode(pairs(1, 5), [0]) for one in (model, again))
    assert before["labels"].tolist() == after["labels"].tolist() != before["ids"].tolist()


def test_a_model_of_several_targets_is_told_which(published: Path, tmp_path: Path) -> None:
    import shutil

    several = tmp_path / "several"
    shutil.copytree(published, several)
    numbers = json.loads((several / "vocab.json").read_text("utf-8"))
    taken = [word for word in numbers if word not in {"</s>", "<unk>", "<pad>"}][:2]
    for word, code in zip(taken, (">>deu<<", ">>fra<<"), strict=True):
        numbers[code] = numbers.pop(word)
    (several / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    for wanted, code in (("de", ">>deu<<"), ("fra", ">>fra<<")):
        model = models.load(request(several, languages=("en", wanted)), "text")
        (row,) = model.encode([("The dog runs here.", "x")], [0])
        assert row["ids"][0] == numbers[code]
        assert row["labels"][0] != numbers[code]
    with pytest.raises(ModelError, match=r"no language 'es'") as caught:
        models.load(request(several, languages=("en", "es")), "text")
    assert ">>fra<<" in str(caught.value.hint)


def test_a_damaged_file_is_named(published: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(published, tmp_path / "damaged")
    (tmp_path / "damaged" / "target.spm").write_bytes(b"\x0a\xff\x01abc")
    with pytest.raises(ModelError, match=r"target\.spm is no SentencePiece model"):
        models.load(request(tmp_path / "damaged"), "text")
    (tmp_path / "damaged" / "target.spm").unlink()
    with pytest.raises(ModelError, match=r"source\.spm but not target\.spm"):
        models.load(request(tmp_path / "damaged"), "text")
