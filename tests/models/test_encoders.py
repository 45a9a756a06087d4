"""The split contract for every family of text encoders, with tiny random networks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ukulele import models
from ukulele.errors import ModelError
from ukulele.features.encode import narrow
from ukulele.models.encoder_stages import LAYOUTS
from ukulele.tools.collate import collate, separate
from ukulele.types import Model, Request, Tensors

Folders = Callable[..., Path]
Texts = Callable[..., list[str]]
WITHOUT_LAYOUT = ("albert", "mpnet")


def load(folder: Path, **changes: Any) -> Model:
    inputs = changes.get("inputs", 1)
    model = models.load(Request(str(folder), **changes), "text" if inputs == 1 else "pair")
    for stage in model.stages:
        stage.module.eval()
    return model


def batch_of(model: Model, inputs: Sequence[Any]) -> Tensors:
    given = [one if isinstance(one, tuple) else (one,) for one in inputs]
    return collate(model.encode(given, [0] * len(given)), model.inputs)


def pooled(model: Model, inputs: Sequence[Any]) -> torch.Tensor:
    with torch.inference_mode():
        return model.run(batch_of(model, inputs))["pooled"]


def library(model: Model, batch: Tensors) -> torch.Tensor:
    """The library's own forward: last hidden states."""
    given = {"input_ids": batch["ids"], "attention_mask": batch["token_mask"]}
    if "side" in batch:
        given["token_type_ids"] = batch["side"]
    return model.net(**given).last_hidden_state


def mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.fixture(params=[*LAYOUTS, *WITHOUT_LAYOUT])
def model(request: pytest.FixtureRequest, encoder_folder: Folders) -> Model:
    return load(encoder_folder(request.param))


@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "even"])
def test_every_cut_is_bit_exact_against_the_library(model: Model, texts: Texts, ragged: bool) -> None:
    made = texts(6, shortest=3, longest=20) if ragged else texts(6, shortest=9, longest=9)
    batch = batch_of(model, made)
    there = batch["token_mask"].bool()
    with torch.inference_mode():
        states = library(model, batch)
        expected = mean(states, batch["token_mask"])
        whole = model.run(batch)["pooled"]
        torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-6)
        body = model.run(batch, 0, len(model.stages) - 1)
        assert torch.equal(body["x"][there], states[there])
        live = batch
        for cut in range(len(model.stages) + 1):
            live = model.run(live, cut - 1, cut) if cut else live
            assert set(model.live(cut)) <= set(live)
            stored = collate(separate(live, model.live(cut)), model.live(cut))
            before = {name: value.clone() for name, value in stored.items()}
            assert torch.equal(model.run(stored, cut)["pooled"], whole), f"cut {cut}"
            assert all(torch.equal(stored[name], before[name]) for name in before), f"cut {cut} was written to"
            live = stored


def test_rows_alone_equal_rows_in_a_batch(model: Model, texts: Texts) -> None:
    made = texts(5, shortest=2, longest=20)
    alone = torch.cat([pooled(model, [text]) for text in made])
    torch.testing.assert_close(alone, pooled(model, made), rtol=1e-4, atol=1e-5)


def test_no_stage_alters_its_input(model: Model, texts: Texts) -> None:
    live = model.prepare(batch_of(model, texts(4)))
    with torch.inference_mode():
        for stage in model.stages:
            before = {name: value.clone() for name, value in live.items()}
            after = stage.module(live)
            assert live.keys() == before.keys()
            assert all(torch.equal(live[name], before[name]) for name in before), stage.name
            live = after


def test_every_parameter_that_matters_is_in_one_stage(model: Model, texts: Texts) -> None:
    owned = [id(p) for stage in model.stages for p in stage.module.parameters()]
    assert len(owned) == len(set(owned))
    library(model, batch_of(model, texts(3, longest=9))).square().sum().backward()
    used = {id(p) for p in model.net.parameters() if p.grad is not None}
    model.net.zero_grad()
    assert used <= set(owned)


def test_pairs_side_by_side_equal_the_library(model: Model, texts: Texts) -> None:
    joint = load(Path(model.card.origin), inputs=2)
    batch = batch_of(joint, list(zip(texts(4), texts(4, seed=1), strict=True)))
    assert joint.recipe["pairs"] == "joint"
    with torch.inference_mode():
        expected = mean(library(joint, batch), batch["token_mask"])
        torch.testing.assert_close(joint.run(batch)["pooled"], expected, rtol=1e-5, atol=1e-6)


def test_a_family_without_layout_is_one_stage(encoder_folder: Folders) -> None:
    assert [stage.name for stage in load(encoder_folder("albert")).stages] == ["body", "pool"]
    assert [stage.name for stage in load(encoder_folder("bert")).stages] == ["embed", "block0", "block1", "pool"]
    with pytest.raises(ModelError, match="chunked"):
        load(encoder_folder("albert"), long="chunk")


# ---------------------------------------------------------------- long texts


@pytest.mark.parametrize("family", LAYOUTS)
def test_chunks_are_encoded_as_if_each_stood_alone(encoder_folder: Folders, texts: Texts, family: str) -> None:
    folder = encoder_folder(family)
    chunked, plain = load(folder, long="chunk", max_length=10), load(folder, max_length=10)
    assert chunked.limit is None
    long = texts(4, shortest=5, longest=40)
    batch = batch_of(chunked, long)
    with torch.inference_mode():
        states = chunked.run(batch, 0, len(chunked.stages) - 1)["x"]
    for number, text in enumerate(long):
        words = text.split()
        pieces = [" ".join(words[at : at + 8]) for at in range(0, len(words), 8)]
        assert batch["piece"][number][batch["token_mask"][number] > 0].max() == len(pieces) - 1
        for index, piece in enumerate(pieces):
            mine = states[number][(batch["piece"][number] == index) & (batch["token_mask"][number] > 0)]
            alone = batch_of(plain, [piece])
            with torch.inference_mode():
                expected = plain.run(alone, 0, len(plain.stages) - 1)["x"][0]
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_chunked_texts_pass_every_cut(encoder_folder: Folders, texts: Texts) -> None:
    model = load(encoder_folder("bert"), long="chunk", max_length=8)
    live = batch_of(model, texts(5, shortest=1, longest=30))
    with torch.inference_mode():
        expected = model.run(live)["pooled"]
        for cut in range(1, len(model.stages) + 1):
            live = model.run(live, cut - 1, cut)
            live = collate(separate(live, model.live(cut)), model.live(cut))
            assert torch.equal(model.run(live, cut)["pooled"], expected)


def test_a_text_that_fits_is_the_same_chunked_or_not(encoder_folder: Folders, texts: Texts) -> None:
    made = texts(4, longest=6)
    chunked = load(encoder_folder("bert"), long="chunk", max_length=10)
    torch.testing.assert_close(pooled(chunked, made), pooled(load(encoder_folder("bert")), made), rtol=1e-5, atol=1e-6)


def test_longer_texts_are_cut_at_max_length(encoder_folder: Folders) -> None:
    model = load(encoder_folder("bert"), max_length=8)
    assert model.limit == 8
    assert len(model.encode([(" ".join(["tea"] * 40),)], [0])[0]["ids"]) == 8
    assert torch.equal(pooled(model, ["tea " * 40]), pooled(model, ["tea " * 6]))
    with pytest.raises(ModelError, match="max-length") as error:
        load(encoder_folder("bert"), max_length=65)
    assert "8 to 64" in error.value.hint


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "mpnet"])
def test_positions_begin_behind_the_padding_and_end_at_the_limit(encoder_folder: Folders, family: str) -> None:
    model = load(encoder_folder(family))  # 66 positions, of which the first two are not for tokens
    assert model.recipe["max_length"] == 64
    batch = batch_of(model, ["tea " * 100, "rain"])
    assert batch["ids"].shape[1] == 64
    with torch.inference_mode():
        expected = mean(library(model, batch), batch["token_mask"])
        torch.testing.assert_close(model.run(batch)["pooled"], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError):
        load(encoder_folder(family), max_length=65)


def test_modernbert_attends_locally_where_the_library_does(encoder_folder: Folders) -> None:
    model = load(encoder_folder("modernbert"))
    kinds = [block.module.layer.attention_type for block in model.stages[1:-2]]
    assert kinds == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    near = ["good " * 20 + end for end in ("tea", "rain")]
    with torch.inference_mode():
        live = model.run(batch_of(model, near), 0, 1)
        local = model.stages[2].module(model.prepare(live))["x"]
        everywhere = model.stages[1].module(model.prepare(live))["x"]
    assert torch.equal(local[0, :10], local[1, :10])
    assert not torch.equal(everywhere[0, :10], everywhere[1, :10])


def test_modernbert_in_bf16_keeps_its_rotary_tables_exact(encoder_folder: Folders, texts: Texts) -> None:
    model = load(encoder_folder("modernbert"))
    before = {name: value.clone() for name, value in model.net.rotary_emb.named_buffers()}
    stages = [narrow(stage.module, torch.bfloat16) for stage in model.stages]
    for stage in stages:
        assert all(p.dtype == torch.bfloat16 for p in stage.parameters())
        for rotary in getattr(stage, "_rotary", []):
            for name, value in rotary.named_buffers():
                assert value.dtype == before[name].dtype
                assert torch.equal(value, before[name])
    assert all(p.dtype == torch.float32 for p in model.net.parameters())
    batch = batch_of(model, texts(4, longest=30))
    with torch.inference_mode():
        live = model.prepare(batch)
        for stage in stages:
            live = stage(live)
        expected = model.run(batch)["pooled"]
    assert live["pooled"].dtype == torch.float32
    assert (live["pooled"] - expected).norm() < 0.1 * expected.norm()


# ---------------------------------------------------------------- pairs and pooling


def separate_pairs(folder: Path, tmp_path: Path) -> Path:
    import shutil

    copied = Path(shutil.copytree(folder, tmp_path / "sentences"))
    (copied / "modules.json").write_text("[]")
    return copied


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_pairs_read_separately_equal_texts_encoded_alone(
    encoder_folder: Folders, texts: Texts, tmp_path: Path, family: str
) -> None:
    folder = separate_pairs(encoder_folder(family), tmp_path)
    both, one = load(folder, inputs=2), load(folder)
    left, right = texts(5), texts(5, seed=3)
    found = pooled(both, list(zip(left, right, strict=True)))
    u, v = (torch.nn.functional.normalize(pooled(one, side)) for side in (left, right))
    expected = torch.cat([u, v, (u - v).abs(), u * v, (u * v).sum(1, keepdim=True)], 1)
    assert both.width == found.shape[1] == 4 * 32 + 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def cls_folder(folder: Path, tmp_path: Path) -> Path:
    import shutil

    copied = Path(shutil.copytree(folder, tmp_path / "cls"))
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    return copied


def test_cls_pooling_takes_the_first_token(encoder_folder: Folders, texts: Texts, tmp_path: Path) -> None:
    model = load(cls_folder(encoder_folder("bert"), tmp_path))
    batch = batch_of(model, texts(4))
    with torch.inference_mode():
        assert torch.equal(model.run(batch)["pooled"], library(model, batch)[:, 0])


def test_cls_pooling_of_chunks_is_the_mean_of_their_first_tokens(
    encoder_folder: Folders, texts: Texts, tmp_path: Path
) -> None:
    folder = cls_folder(encoder_folder("bert"), tmp_path)
    chunked, plain = load(folder, long="chunk", max_length=10), load(folder, max_length=10)
    text = texts(1, shortest=20, longest=20)[0].split()
    pieces = [" ".join(text[at : at + 8]) for at in range(0, 20, 8)]
    expected = pooled(plain, pieces).mean(0, keepdim=True)
    torch.testing.assert_close(pooled(chunked, [" ".join(text)]), expected, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- where they come from


def test_a_vocabulary_file_is_tokenizer_enough(encoder_folder: Folders, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(encoder_folder("bert"), tmp_path / "old"))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    words = [*sorted(vocabulary, key=vocabulary.get)[:-1], "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(words))
    row = load(folder).encode([("good tea",)], [0])[0]
    assert row["ids"].tolist() == [vocabulary[word] for word in ("[CLS]", "good", "tea", "[SEP]")]


def test_random_weights_follow_the_seed_and_leave_the_generator_alone(encoder_folder: Folders, texts: Texts) -> None:
    folder, made = encoder_folder("bert"), texts(3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (load(folder, pretrained=False, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(pooled(first, made), pooled(second, made))
    assert not torch.allclose(pooled(first, made), pooled(other, made))
    assert not torch.allclose(pooled(first, made), pooled(load(folder), made))


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        load(tmp_path)


def test_weights_that_do_not_fit_are_refused(encoder_folder: Folders, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(encoder_folder("bert"), tmp_path / "cut"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


def test_pickled_weights_are_refused_with_the_way_out(encoder_folder: Folders, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder("bert"), tmp_path / "pickled"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no weights in model\.safetensors") as error:
        load(folder)
    assert "save_pretrained" in error.value.hint


def test_weights_that_are_not_there_are_never_drawn_in_silence(encoder_folder: Folders, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(encoder_folder("bert"), tmp_path / "partial"))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layer.1.attention" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks"):
        load(folder)


# ---------------------------------------------------------------- cut short


def test_a_truncated_model_ends_in_the_summary_of_that_stage(encoder_folder: Folders, texts: Texts) -> None:
    model = load(encoder_folder("bert"))
    short = models.truncate(model, "block0", [("good tea",)])
    made = texts(4)
    batch = batch_of(model, made)
    with torch.inference_mode():
        expected = model.summary(model.run(batch, 0, 2))
        assert torch.equal(short.run(batch)["pooled"], expected)
    assert [stage.name for stage in short.stages] == ["embed", "block0", "pool"]
    with pytest.raises(ModelError, match="no stage") as error:
        models.truncate(model, "block7", [("good tea",)])
    assert "block1" in error.value.hint


# ---------------------------------------------------------------- broken folders


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json"]
)
@pytest.mark.parametrize("content", [b"", b'{"model_type": ', b"[1, 2]", b"\xff\xfe", b'{"max_seq_length": "x"}'])
def test_a_broken_file_is_named(encoder_folder: Folders, tmp_path: Path, file: str, content: bytes) -> None:
    folder = tmp_path / "model"
    shutil.copytree(encoder_folder("bert"), folder)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    if file == "1_Pooling/config.json" and content.startswith(b'{"max'):
        assert load(folder).recipe["pooling"] == "mean"
        return
    with pytest.raises(ModelError, match=file):
        load(folder)


def test_a_broken_settings_file_among_pictures(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        models.load(Request(str(tmp_path)), "image")
