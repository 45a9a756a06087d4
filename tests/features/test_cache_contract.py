"""The cache's contract: what it gives is what the loop would have computed, whatever happens to the disk."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cache_kit import CUT, Folders, Make, close, equal, files, quiet, read
from PIL import Image

from ukulele import features, models
from ukulele.events import Progress
from ukulele.features import Cache, Pass, Store, frozen_pass, model_key
from ukulele.features.encode import Frozen, batches, by_length
from ukulele.features.store import BLOCK
from ukulele.features.writer import Writer
from ukulele.models import images
from ukulele.tools.collate import collate
from ukulele.types import Model, Request, Row, Rows, Tensors, Where


def uncached(model: Model, rows: Rows, cut: int) -> list[Tensors]:
    """Our own loop without a cache, with the same batch companions."""
    encoded = model.encode([row.inputs for row in rows], [0] * len(rows))
    frozen, found = Frozen(model, Pass(cut)), [{} for _ in rows]
    for numbers in by_length([len(row["ids"]) for row in encoded], model.together):
        for number, row in zip(numbers, frozen.run([encoded[i] for i in numbers]), strict=True):
            found[number] = row
    return found


# ---------------------------------------------------------------- equality


@pytest.mark.parametrize("cut", [0, 1, CUT, 4])
def test_the_same_companions_give_the_same_bits(model: Model, rows: Rows, cache_folder: Path, cut: int) -> None:
    cache = Cache(cache_folder)
    first = frozen_pass(model, rows, Pass(cut), cache, quiet)
    again = frozen_pass(model, rows, Pass(cut), Cache(cache_folder), quiet)
    assert isinstance(first, Store)
    assert isinstance(again, Store)
    assert equal(read(first), uncached(model, rows, cut))
    assert equal(read(again), read(first))
    assert set(read(first)[0]) == {*model.live(cut), *(["length"] if cut else [])}
    assert len(files(cache)) == 1


def test_short_texts_pass_in_large_batches_and_pictures_in_smaller_ones(
    model: Model, rows: Rows, network: Model
) -> None:
    def sizes(of: Model, row: Tensors, count: int) -> list[int]:
        return [len(numbers) for numbers, _ in batches(Frozen(of, Pass(0)), count, lambda some: [row] * len(some))]

    text = {name: value[:8] for name, value in model.encode([rows[0].inputs], [0])[0].items()}
    assert sizes(model, text, 300) == [256, 44]
    long = {name: value[:1].expand(100) for name, value in text.items()}
    assert sizes(model, long, 100) == [40, 40, 20]  # 4,096 tokens at most
    assert sizes(network, {"x": torch.zeros(3, 8, 8, dtype=torch.uint8)}, 100) == [64, 36]


def test_other_companions_agree_to_four_digits(model: Model, rows: Rows, cache_folder: Path) -> None:
    stored = read(frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet))
    frozen = Frozen(model, Pass(CUT))
    alone = [frozen.run(model.encode([row.inputs], [0]))[0] for row in rows]
    close(stored, alone)


def test_bf16_is_stored_narrow_and_close(model: Model, rows: Rows, cache_folder: Path) -> None:
    narrow = read(frozen_pass(model, rows, Pass(CUT, dtype="bf16"), Cache(cache_folder), quiet))
    exact = uncached(model, rows, CUT)
    assert narrow[0]["x"].dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in model.net.parameters())
    apart = torch.cat([(n["x"].float() - e["x"]) for n, e in zip(narrow, exact, strict=True)])
    assert apart.norm() < 0.05 * torch.cat([e["x"] for e in exact]).norm()
    inputs = read(frozen_pass(model, rows, Pass(0, dtype="bf16"), Cache(cache_folder), quiet))
    assert inputs[0]["ids"].dtype == torch.int64


def test_rows_keep_their_order_and_any_can_be_asked_for(model: Model, rows: Rows, cache_folder: Path) -> None:
    store = frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet)
    all_rows = read(store)
    assert equal(store.rows([7, 0, 7, 49]), [all_rows[i] for i in (7, 0, 7, 49)])
    lengths = [len(row["ids"]) for row in model.encode([row.inputs for row in rows], [0] * 50)]
    assert store.lengths().tolist() == lengths


@pytest.mark.parametrize("cut", [0, CUT, 4])
def test_a_batch_from_the_store_is_that_of_its_rows(model: Model, rows: Rows, cache_folder: Path, cut: int) -> None:
    for dtype in ("fp32", "bf16"):
        store = frozen_pass(model, rows, Pass(cut, dtype=dtype), Cache(cache_folder / dtype), quiet)
        fields = {name: replace(field, pad=7.0) if field.axis else field for name, field in model.live(cut).items()}
        for numbers in ([3], [5, 0, 5, 2], list(range(len(rows)))):
            found, expected = store.collated(numbers, fields), collate(store.rows(numbers), fields)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
            assert all(found[name].dtype == expected[name].dtype for name in expected)


def test_rows_handed_out_are_copies(model: Model, rows: Rows, cache_folder: Path) -> None:
    store = frozen_pass(model, rows, Pass(CUT), Cache(cache_folder), quiet)
    before = store.rows([3])[0]["x"].clone()
    store.rows([3])[0]["x"].zero_()
    collate(store.rows([3]), store.fields)["x"].zero_()
    assert torch.equal(store.rows([3])[0]["x"], before)


def test_taps_hold_the_summary_behind_every_stage(model: Model, rows: Rows, cache_folder: Path) -> None:
    store = frozen_pass(model, rows, Pass(4, taps=True), Cache(cache_folder), quiet)
    plain = frozen_pass(model, rows, Pass(4), Cache(cache_folder), quiet)
    assert set(store.fields) == {"pooled", "length", "tap.embed", "tap.block0", "tap.block1", "tap.pool"}
    assert torch.equal(store.stack("pooled"), plain.stack("pooled"))
    short = models.truncate(model, "block0", [("tea",)])
    expected = frozen_pass(short, rows, Pass(3), Cache(cache_folder), quiet)
    assert torch.equal(store.stack("tap.block0"), expected.stack("pooled"))


@pytest.mark.parametrize("taps", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("cut", [1, CUT, 3])
def test_a_pass_that_goes_on_from_a_lower_cut_gives_the_same_bits(
    model: Model, rows: Rows, cache_folder: Path, cut: int, dtype: str, taps: bool
) -> None:
    wanted = Pass(4, dtype=dtype, taps=taps)
    whole = frozen_pass(model, rows, wanted, Cache(cache_folder / "whole"), quiet)
    cache = Cache(cache_folder / "parts")
    lower = frozen_pass(model, rows, replace(wanted, cut=cut), cache, quiet)
    assert isinstance(lower, Store)
    writer = Writer(model, rows, wanted, cache, quiet, (cut, lower))
    assert not writer.whole()
    assert equal(read(writer.source(writer.fits())), read(whole))
    assert writer.whole()
    assert [path.name for path in files(cache)][-1] == files(Cache(cache_folder / "whole"))[0].name  # the same key


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", ["layer1.0", "layer3.1"])
def test_so_does_one_of_pictures(network: Model, make_rows: Make, cache_folder: Path, stage: str, dtype: str) -> None:
    made, top = make_rows([picture(i) for i in range(70)]), len(network.stages)
    cut = [stage.name for stage in network.stages].index(stage) + 1
    wanted = Pass(top, dtype=dtype, taps=True)
    whole = frozen_pass(network, made, wanted, Cache(cache_folder / "whole"), quiet)
    cache = Cache(cache_folder / "parts")
    lower = frozen_pass(network, made, replace(wanted, cut=cut), cache, quiet)
    assert isinstance(lower, Store)
    found = Writer(network, made, wanted, cache, quiet, (cut, lower)).source(stored=True)
    assert equal(read(found), read(whole))


def test_more_rows_than_a_block_holds(make_rows: Make, encoder_folder: Folders, cache_folder: Path) -> None:
    model = models.load(Request(str(encoder_folder("bert"))), "text")
    made = make_rows([f"w{i % 52} w{i // 52 % 52} w{i // 2704}" for i in range(BLOCK + 30)])
    heard: list[Progress] = []
    cache = Cache(cache_folder)
    store = frozen_pass(model, made, Pass(1), cache, heard.append)
    assert len(files(cache)) == 2
    assert (heard[-1].done, heard[-1].total) == (BLOCK + 30, BLOCK + 30)
    numbers = [0, BLOCK - 1, BLOCK, BLOCK + 29]
    expected = Frozen(model, Pass(1)).run(model.encode([made[i].inputs for i in numbers], [0] * 4))
    close(store.rows(numbers), expected)
    assert len(store.lengths()) == len(store) == BLOCK + 30
    heard.clear()  # one row more: only the last block is computed again
    frozen_pass(model, make_rows([*(row.inputs for row in made), ("tea",)]), Pass(1), cache, heard.append)
    assert heard[0].done > BLOCK


def test_no_rows_are_no_trouble(model: Model, make_rows: Make, cache_folder: Path) -> None:
    store = frozen_pass(model, make_rows([]), Pass(CUT), Cache(cache_folder), quiet)
    assert len(store) == 0
    assert store.lengths().tolist() == []
    assert set(store.fields) == {*model.live(CUT), "length"}


# ---------------------------------------------------------------- pictures


@pytest.fixture
def network() -> Model:
    source = {
        "family": "timm", "architecture": "resnet18", "args": {}, "size": [32, 32], "mean": [0.5] * 3,
        "std": [0.25] * 3, "crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "center",
    }  # fmt: skip
    return images.build(source, {})


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("view", [0, 1])
def test_pictures_are_stored_exactly(network: Model, make_rows: Make, cache_folder: Path, view: int) -> None:
    made = make_rows([picture(i) for i in range(5)])
    store = frozen_pass(network, made, Pass(0, view, seed=3), Cache(cache_folder), quiet)
    draws = [features.draw(3, i, view) for i in range(5)]
    assert equal(read(store), network.encode([row.inputs for row in made], draws))
    assert read(store)[0]["x"].dtype == torch.uint8
    assert store.lengths().tolist() == [1] * 5


def test_batchnorm_is_folded_alike_on_every_device(network: Model, make_rows: Make) -> None:
    """Where float32 is rounded (TF32) the check would part what is folded whole from what is folded in two parts."""
    encoded = network.encode([row.inputs for row in make_rows([picture(i) for i in range(2)])], [0, 0])
    kept = [[type(module) for module in network.net.modules()], network.net.conv1.weight.clone()]  # type: ignore[union-attr]
    folded = {}
    for device in ("cpu", "meta"):  # which stands in for an accelerator
        frozen = Frozen(network, Pass(len(network.stages), dtype="bf16", device=device))
        with torch.inference_mode():
            live, _ = frozen._through(collate(encoded, network.inputs))
        assert {value.device.type for value in live.values()} == {device}
        folded[device] = [(name, value.dtype) for name, value in frozen.stages.named_parameters()]
    assert folded["cpu"] == folded["meta"]
    assert not any("bn" in name for name, _ in folded["cpu"])
    assert kept[0] == [type(module) for module in network.net.modules()]
    assert torch.equal(kept[1], network.net.conv1.weight)  # type: ignore[union-attr, arg-type]


def test_a_frozen_image_network_gives_what_the_loop_computes(
    network: Model, make_rows: Make, cache_folder: Path
) -> None:
    made = make_rows([picture(i) for i in range(5)])
    statistics = {name: value.clone() for name, value in network.net.named_buffers()}
    store = frozen_pass(network, made, Pass(len(network.stages)), Cache(cache_folder), quiet)
    network.net.eval()
    with torch.inference_mode():
        batch = collate(network.encode([row.inputs for row in made], [0] * 5), network.inputs)
        assert torch.equal(store.stack("pooled"), network.run(batch)["pooled"])
    assert all(torch.equal(value, statistics[name]) for name, value in network.net.named_buffers())


def test_views_differ_and_are_functions_of_seed_row_and_view(
    network: Model, make_rows: Make, cache_folder: Path
) -> None:
    made, cache = make_rows([picture(0)] * 3), Cache(cache_folder)

    def view(number: int, seed: int = 0) -> list[Tensors]:
        return read(frozen_pass(network, made, Pass(0, number, seed), cache, quiet))

    assert not torch.equal(view(1)[0]["x"], view(0)[0]["x"])
    assert not torch.equal(view(1)[0]["x"], view(2)[0]["x"])
    assert not torch.equal(view(1)[0]["x"], view(1)[1]["x"])
    assert not torch.equal(view(1)[0]["x"], view(1, seed=1)[0]["x"])
    assert equal(view(0), view(0, seed=1))


# ---------------------------------------------------------------- keys


def key(model: Model, cut: int = CUT) -> str:
    return model_key(model, cut, "fp32", "cpu")


def test_the_key_follows_every_weight_below_the_cut_and_none_above(model: Model) -> None:
    before = key(model)
    for index, stage in enumerate(model.stages):
        for name, parameter in stage.module.named_parameters():
            kept = parameter.detach().clone()
            parameter.data.view(-1)[-1] += 1
            assert (key(model) != before) == (index < CUT), f"{stage.name}.{name}"
            parameter.data.copy_(kept)
        assert key(model) == before


def test_the_key_follows_statistics_of_batchnorm(network: Model) -> None:
    before = key(network)
    next(value for name, value in network.stages[0].module.named_buffers() if "mean" in name).add_(1)
    assert key(network) != before


def test_the_key_follows_all_that_determines_the_values(model: Model, encoder_folder: Folders, tmp_path: Path) -> None:
    folder = str(encoder_folder("bert"))
    others = [
        key(models.load(Request(folder, max_length=20), "text")),
        key(models.load(Request(folder, long="chunk"), "text")),
        key(models.load(Request(folder, pretrained=False), "text")),
        key(replace(model, assets={"tokenizer.json": b"another"})),
        key(model, 1),
        model_key(model, CUT, "bf16", "cpu"),
        model_key(model, CUT, "fp32", "cuda"),
    ]
    assert len({key(model), *others}) == 8
    assert key(models.load(Request(folder), "text")) == key(model)
    elsewhere = str(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert key(models.load(Request(elsewhere), "text")) == key(model)


def test_blocks_follow_the_rows(model: Model, make_rows: Make, cache_folder: Path) -> None:
    cache, counts = Cache(cache_folder), []
    for made in (["tea rain"], ["tea", "rain"], ["rain", "tea"], ["tea rain"], ["tearain"]):
        frozen_pass(model, make_rows(made), Pass(CUT), cache, quiet)
        counts.append(len(files(cache)))
    assert counts == [1, 2, 3, 3, 4]


def test_a_picture_file_that_changed_is_read_again(network: Model, make_rows: Make, tmp_path: Path) -> None:
    file, cache = tmp_path / "one.png", Cache(tmp_path / "cache")
    file.write_bytes(picture(0))
    first = read(frozen_pass(network, make_rows([file]), Pass(0), cache, quiet))
    file.write_bytes(picture(1))
    second = read(frozen_pass(network, make_rows([file]), Pass(0), cache, quiet))
    assert not torch.equal(first[0]["x"], second[0]["x"])


class Held(bytes):
    """Bytes of a picture that count how many of them are held at once."""

    alive = most = 0

    def __new__(cls, content: bytes) -> Held:
        Held.alive += 1
        Held.most = max(Held.most, Held.alive)
        return super().__new__(cls, content)

    def __del__(self) -> None:
        Held.alive -= 1


class Lazy(list[int]):
    """Rows whose pictures exist only while somebody holds them."""

    def take(self, indices: Sequence[int]) -> Lazy:
        return Lazy(self[i] for i in indices)

    def __iter__(self) -> Iterator[Row]:  # type: ignore[override]
        for at in range(len(self)):
            yield Row((Held(picture(self[at] % 3)),), {}, Where("made"))


def test_few_pictures_of_bytes_are_held_while_they_are_encoded(
    network: Model, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ukulele.features.encode.BYTES", 3 * len(picture(0)))
    Held.most = 0
    store = frozen_pass(network, Lazy(range(40)), Pass(1), Cache(cache_folder), quiet)  # type: ignore[arg-type]
    assert 1 < Held.most <= 8
    first, again, last = (store.rows([at])[0] for at in (0, 3, 39))
    assert equal([first, first], [again, last])
    assert not equal([first], store.rows([1]))
