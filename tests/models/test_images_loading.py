"""Image models by name and from files, and how they see pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ukulele.errors import DataError, ModelError
from ukulele.models import images
from ukulele.models.augment import View, encode
from ukulele.tools.collate import collate
from ukulele.types import Request

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data and weights is not beside the checkout")
NAME = "mobilenetv3_small_050"


def picture(width: int = 300, height: int = 200) -> Image.Image:
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    waves = [127 + 120 * np.sin(across / a + down / b) for a, b in ((9, 31), (23, 11), (40, 17))]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of fp16 weights with metadata, with the classifier left in it."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    net = images.load(Request(NAME, pretrained=False, seed=3)).net
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    state |= {"classifier.weight": torch.arange(10.0)[:, None].repeat(1, 1024), "classifier.bias": -torch.arange(10.0)}
    told = {"architecture": NAME, "input": "96", "mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "source_task": "birds"}
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata={**told, "licence": "CC0-1.0"})
    return path


def test_random_weights_follow_the_seed_and_leave_the_global_state() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, same, other = (images.load(Request(NAME, pretrained=False, seed=s)) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    one, two, three = (m.net.state_dict()["conv_stem.weight"] for m in (first, same, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_a_file_brings_its_settings_weights_and_licence(weights: Path) -> None:
    model = images.load(Request(str(weights)))
    assert model.name == "small"
    assert model.recipe["size"] == [96, 96]
    assert model.recipe["mean"] == [0.5, 0.5, 0.5]
    assert (model.card.source_task, model.card.licence) == ("birds", "CC0-1.0")
    saved = load_file(weights)
    assert all(torch.equal(v, saved[k].to(v.dtype)) for k, v in model.net.state_dict().items())


def test_a_classifier_in_the_file_is_kept_for_what_it_knows(weights: Path, tmp_path: Path) -> None:
    model = images.load(Request(str(weights)))
    assert model.classifier is not None
    weight, bias = model.classifier
    assert weight.dtype == bias.dtype == torch.float32
    assert weight[:, 5].tolist() == (-bias).tolist() == list(range(10))
    assert images.load(Request(str(weights), pretrained=False)).classifier is None
    state, told = load_file(weights), {"architecture": NAME, "input": "96"}
    unknown, without = tmp_path / "unknown.safetensors", tmp_path / "without.safetensors"
    save_file(state, unknown, metadata=told)
    assert images.load(Request(str(unknown))).classifier is None  # what it maps to is not said
    rest = {name: value for name, value in state.items() if not name.startswith("classifier")}
    save_file(rest, without, metadata={**told, "source_task": "birds"})
    assert images.load(Request(str(without))).classifier is None


def test_weights_by_name_come_from_the_hubs_cache_with_their_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from huggingface_hub import constants

    repository = tmp_path / f"models--timm--{NAME}.lamb_in1k"
    here = repository / "snapshots" / "0"
    here.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    torch.manual_seed(4)
    net = timm.create_model(NAME, pretrained=False).eval()
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, here / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = images.load(Request(f"{NAME}.lamb_in1k"))
    assert model.card.source_task == "ImageNet-1k"
    assert model.classifier is not None
    batch = collate(model.encode([(picture(),)], [0]), model.inputs)
    weight, bias = model.classifier
    model.net.eval()
    mean, std = (torch.tensor(model.recipe[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        found = model.run(batch)["pooled"] @ weight.T + bias
        torch.testing.assert_close(found, net((batch["x"] / 255 - mean) / std), rtol=1e-3, atol=1e-4)


def test_a_model_is_built_again_from_its_recipe(weights: Path) -> None:
    model = images.load(Request(str(weights)))
    again = images.build(json.loads(json.dumps(dict(model.recipe))), {})
    again.net.load_state_dict(model.net.state_dict())
    batch = collate(model.encode([(picture(),)], [0]), model.inputs)
    model.net.eval(), again.net.eval()
    with torch.inference_mode():
        assert torch.equal(model.run(batch)["pooled"], again.run(again_batch(again))["pooled"])


def again_batch(model: object) -> dict[str, torch.Tensor]:
    return collate(model.encode([(picture(),)], [0]), model.inputs)


def test_a_folder_in_the_hubs_format(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights.read_bytes())
    settings = {"input_size": [3, 80, 80], "crop_pct": 1.0, "license": "mit", "num_classes": 1000}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": NAME, "pretrained_cfg": settings}))
    model = images.load(Request(str(tmp_path)))
    assert model.recipe["size"] == [80, 80]
    assert (model.card.licence, model.card.source_task) == ("mit", "ImageNet-1k")


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_explained(weights: Path, tmp_path: Path, change: str) -> None:
    state = load_file(weights)
    if change == "missing":
        del state["conv_stem.weight"]
    elif change == "extra":
        state["adapter.weight"] = torch.zeros(1)
    else:
        state["conv_stem.weight"] = torch.zeros(1, 3, 3, 3)
    path = tmp_path / "bad.safetensors"
    save_file(state, path, metadata={"architecture": NAME})
    named = {
        "missing": "1 missing (conv_stem",
        "extra": "1 not expected (adapter",
        "shape": "is (1, 3, 3, 3), expected",
    }
    with pytest.raises(ModelError) as caught:
        images.load(Request(str(path)))
    assert named[change] in caught.value.message


def test_faults_of_names_and_files(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ModelError, match=r"Did you mean .*mobilenetv2_100"):
        images.load(Request("mobilnetv2_100", pretrained=False))
    with pytest.raises(ModelError, match=r"no such file.\nModels there: small.safetensors"):
        images.load(Request(str(weights.with_name("smal.safetensors"))))
    with pytest.raises(ModelError, match=r"config.json and model.safetensors missing"):
        images.load(Request(str(tmp_path)))
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    with pytest.raises(ModelError, match="does not say which architecture"):
        images.load(Request(str(bare)))
    bare.write_bytes(b"not weights")
    with pytest.raises(ModelError, match="no safetensors file or is damaged"):
        images.load(Request(str(bare)))
    save_file({"a": torch.zeros(1)}, bare, metadata={"architecture": NAME, "mean": "grey"})
    with pytest.raises(ModelError, match="metadata cannot be read"):
        images.load(Request(str(bare)))


def test_without_network_the_error_says_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    here = tmp_path / "models--timm--resnet18.a1_in1k" / "snapshots" / "0"
    here.mkdir(parents=True)
    (here / "model.safetensors").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"cannot be reached.\nAvailable locally: timm/resnet18.a1_in1k"):
        images.load(Request("mobilenetv2_100"))
    offers = images.available("resnet18.")
    assert [offer.name for offer in offers if offer.where == "local"] == ["resnet18.a1_in1k"]
    assert offers[0].licence == "apache-2.0"


def test_a_folder_of_files_is_listed(weights: Path) -> None:
    (offer,) = images.available(str(weights.parent))
    assert offer.name == str(weights)
    assert offer.where == "local"
    assert offer.parameters > 500_000


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (224, 224), (90, 60), (640, 481)])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
def test_the_plain_view_is_timms_own(width: int, height: int, crop_pct: float) -> None:
    """Only the pixels that stay are computed: a few round otherwise, by two levels of 255 at most."""
    from timm.data import create_transform

    theirs = create_transform((3, 224, 224), crop_pct=crop_pct, interpolation="bicubic", normalize=False)
    expected = theirs(picture(width, height))
    (row,) = encode([(picture(width, height),)], [0], View((224, 224), crop_pct))
    assert row["x"].dtype == torch.uint8
    assert row["x"].is_contiguous()
    apart = (row["x"].int() - expected.int()).abs()
    assert apart.max() <= 2
    assert apart.float().mean() < 0.03


def test_a_large_jpeg_is_decoded_smaller_but_looks_the_same(tmp_path: Path) -> None:
    from timm.data import create_transform

    path = tmp_path / "large.jpg"
    picture().resize((1800, 1200)).save(path, quality=95)
    theirs = create_transform((3, 224, 224), crop_pct=0.875, interpolation="bicubic", normalize=False)
    (row,) = encode([(path,)], [0], View((224, 224)))
    apart = (row["x"].int() - theirs(Image.open(path)).int()).abs().float()
    assert apart.mean() < 1.5  # of 255: the decoder's own halving in place of part of the resampling


def test_augmentation_is_a_function_of_the_draw_alone() -> None:
    view = View((64, 64))
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    rows = [(picture(),)] * 4
    first = encode(rows, [7, 8, 7, 0], view)
    again = encode(rows, [7, 8, 7, 0], view)
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0]["x"], first[2]["x"])
    assert not torch.equal(first[0]["x"], first[1]["x"])
    assert not torch.equal(first[0]["x"], first[3]["x"])
    assert (np.random.get_state()[1] == before).all()


def test_extreme_shapes_and_draws() -> None:
    view = View((32, 48), crop_pct=0.9)
    for size in ((1, 1), (500, 3), (3, 500)):
        for row in encode([(picture(*size),)] * 3, [0, 2**63, -5], view):
            assert row["x"].shape == (3, 32, 48)
    squashed = encode([(picture(200, 50),)], [0], View((40, 40), crop_pct=1.0, squash=True))
    expected = np.asarray(picture(200, 50).resize((40, 40), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert (squashed[0]["x"].numpy() == expected).all()


def test_an_unreadable_picture_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        encode([(picture(),), (bad,)], [0, 0], View((32, 32)))


@real
@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv1_100", "mobilenetv2_100_inat_bird"])
def test_real_weights_give_what_timm_gives_by_hand(name: str) -> None:
    import timm
    from timm.data import create_transform

    path = SHARED / "weights" / f"{name}.safetensors"
    files = sorted((SHARED / "data/hymenoptera/val/ants").glob("*.jpg"))[:4]
    half = (0.5, 0.5, 0.5)
    net = timm.create_model(name.removesuffix("_inat_bird"), num_classes=0, pad_type="same").eval()
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    see = create_transform((3, 224, 224), crop_pct=1.0, interpolation="bicubic", mean=half, std=half)
    model = images.load(Request(str(path)))
    model.net.eval()
    rows = model.encode([(file,) for file in files], [0] * len(files))
    with torch.inference_mode():
        expected = net(torch.stack([see(Image.open(file).convert("RGB")) for file in files]))
        found = model.run(collate(rows, model.inputs))["pooled"]
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999
