"""The split contract for the families of timm, each with one small network and random weights."""

from __future__ import annotations

import copy

import pytest
import timm
import torch

from ukulele.models import images
from ukulele.models.timm_stages import normalised
from ukulele.tools.collate import collate, separate
from ukulele.types import Model, Request

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CASES = {  # architecture: (side of the input in pixels, arguments that make it smaller)
    "vgg11": (64, {"mlp_ratio": 0.02}),
    "vgg11_bn": (64, {"mlp_ratio": 0.02}),
    "resnet18": (64, {}),
    "mobilenetv1_100": (64, {}),
    "mobilenetv2_035": (64, {"pad_type": "same"}),
    "mobilenetv3_small_050": (64, {}),
    "efficientnet_b0": (64, {}),
    "convnext_atto": (64, {}),
    "vit_tiny_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "vit_base_patch16_siglip_gap_224": (64, {"img_size": 64, "depth": 2, "embed_dim": 96, "num_heads": 3}),
    "deit_tiny_distilled_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "embed_dim": 48}),
    "regnetx_002": (64, {}),
    "densenet121": (64, {}),
    "resnetv2_18": (64, {}),
    "repvgg_a0": (64, {}),
    "ghostnet_050": (64, {}),  # not in the table: one stage
}


def recipe(architecture: str, side: int, args: dict) -> dict:
    return {
        "family": "timm",
        "architecture": architecture,
        "args": args,
        "size": [side, side],
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "crop_mode": "center",
    }


SLOW = {"densenet121", "repvgg_a0", "resnetv2_18", "regnetx_002", "vit_base_patch16_siglip_gap_224", "vgg11_bn"}


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES])
def model(request: pytest.FixtureRequest) -> Model:
    made = images.build(recipe(request.param, *CASES[request.param]), {})
    generator = torch.Generator().manual_seed(1)
    for module in made.net.modules():  # statistics as after training, else BatchNorm is nearly the identity
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    made.net.eval()
    for stage in made.stages:
        stage.module.eval()
    return made


def pictures(model: Model, count: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = (count, 3, *model.recipe["size"])
    return {"x": torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)}


def library(model: Model, x: torch.Tensor) -> torch.Tensor:
    """The library's own forward, on the memory format that the model uses."""
    return model.net(normalised(model.prepare({"x": x})["x"], MEAN, STD))


def test_composed_stages_equal_the_library_and_every_cut_is_exact(model: Model) -> None:
    batch = pictures(model)
    with torch.inference_mode():
        expected = library(model, batch["x"])
        whole = model.run(batch)
        assert torch.equal(whole["pooled"], expected)
        assert whole["pooled"].shape == (2, model.width)
        assert whole["pooled"].dtype == torch.float32
        live = batch
        for cut in range(len(model.stages) + 1):
            if cut:
                live = model.run(live, cut - 1, cut)
            assert set(live) == set(model.live(cut))
            stored = collate(separate(live, model.live(cut)), model.live(cut))
            before = {name: value.clone() for name, value in stored.items()}
            above = model.run(stored, cut)
            assert torch.equal(above["pooled"], expected), f"cut {cut}"
            assert all(torch.equal(stored[name], before[name]) for name in stored), f"cut {cut} was written to"


def test_a_classifier_taken_off_reads_what_is_pooled(model: Model) -> None:
    """What the whole network answers is what the classifier makes of the network without it, wherever it is linear."""
    source = images._source(
        model.recipe["architecture"], model.recipe["args"], {"input_size": (3, *model.recipe["size"])}
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = timm.create_model(source.architecture, pretrained=False, num_classes=7, **source.args).eval()
    x = normalised(pictures(model)["x"], source.mean, source.std)
    with torch.inference_mode():
        expected = net(x)
    classifier = images.taken_off(net)
    if source.architecture.startswith("deit"):
        assert classifier is None  # the mean of two
        return
    made = images._model("whole", net, source, model.card, classifier)
    assert made.classifier is not None
    weight, bias = made.classifier
    with torch.inference_mode():
        found = made.run(pictures(model))["pooled"] @ weight.T + bias
    assert weight.shape == (7, made.width)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_no_stage_alters_its_input(model: Model) -> None:
    live = pictures(model)
    with torch.inference_mode():
        for stage in model.stages:
            live = model.prepare(live)
            before = {name: value.clone() for name, value in live.items()}
            after = stage.module(live)
            assert all(torch.equal(live[name], before[name]) for name in before), stage.name
            live = after


def test_a_row_does_not_depend_on_its_companions(model: Model) -> None:
    batch = pictures(model, 3)
    with torch.inference_mode():
        together = model.run(batch)["pooled"]
        alone = torch.cat([model.run({"x": x[None]})["pooled"] for x in batch["x"]])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


def test_each_parameter_and_statistic_belongs_to_one_stage(model: Model) -> None:
    owned = [id(p) for stage in model.stages for p in stage.module.parameters()]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in model.net.parameters()}
    buffers = {id(b) for stage in model.stages for b in stage.module.buffers()}
    assert buffers == {id(b) for b in model.net.buffers()}


def test_summary_has_one_vector_a_row_behind_every_stage(model: Model) -> None:
    live = pictures(model, 3)
    with torch.inference_mode():
        for cut, _ in enumerate(model.stages):
            live = model.run(live, cut, cut + 1)
            vector = model.summary(live)
            assert vector.ndim == 2
            assert vector.shape[0] == 3
            assert vector.dtype == torch.float32
            assert vector.isfinite().all()
    assert torch.equal(vector, live["pooled"])


def test_a_copy_shares_nothing_and_gives_the_same(model: Model) -> None:
    net, stages = copy.deepcopy((model.net, model.stages))
    mine, theirs = ({id(p) for s in row for p in s.module.parameters()} for row in (stages, model.stages))
    assert not mine & theirs
    assert mine == {id(p) for p in net.parameters()}
    live = model.prepare(pictures(model))
    with torch.inference_mode():
        for stage in stages:
            live = stage.module(live)
        assert torch.equal(live["pooled"], model.run(pictures(model))["pooled"])


def test_bfloat16_stays_close_and_hands_on_bfloat16(model: Model) -> None:
    batch = pictures(model)
    with torch.inference_mode():
        expected = model.run(batch)["pooled"]
        narrow = copy.deepcopy(model.stages)
        live = model.prepare(batch)
        for stage in narrow:
            live = stage.module.to(torch.bfloat16)(live)
            assert stage.name in ("pool", "body") or live["x"].dtype == torch.bfloat16
    assert live["pooled"].dtype == torch.float32
    apart = (live["pooled"] - expected).norm() / expected.norm()
    assert apart < 0.1


def test_gradients_reach_every_parameter_above_a_cut(model: Model) -> None:
    cut = len(model.stages) // 2
    with torch.no_grad():
        below = model.run(pictures(model), 0, cut)
    model.run(below, cut)["pooled"].square().sum().backward()
    trained = {id(p) for stage in model.stages[cut:] for p in stage.module.parameters()}
    touched = {id(p) for p in model.net.parameters() if p.grad is not None}
    model.net.zero_grad(set_to_none=True)
    assert touched <= trained
    assert touched


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["swinv2_cr_tiny_ns_224", "mixer_s16_224", "swinv2_tiny_window8_256", "mobilenetv4_conv_small"]
)
def test_siblings_equal_the_library_at_their_own_size(name: str) -> None:
    made = images.load(Request(name, pretrained=False))
    made.net.eval()
    batch = pictures(made, 1)
    with torch.inference_mode():
        x = normalised(made.prepare(batch)["x"], made.recipe["mean"], made.recipe["std"])
        assert torch.equal(made.run(batch)["pooled"], made.net(x))
