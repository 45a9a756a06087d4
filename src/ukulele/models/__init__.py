"""Models by name: which family makes which, and how one is cut short or built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukulele.errors import ModelError
from ukulele.models.bundle import BUNDLE_FILE, GROUPS, Bundle, is_bundle, read_bundle
from ukulele.types import Card, Field, Model, Request, Stage, Tensors

if TYPE_CHECKING:
    from torch import Tensor

CLASSICAL = ("majority", "tfidf", "histogram")
COPYING = ("copy", "lead-3")  # controls of texts that are written
COUNTING = ("unigram", "5-gram")  # controls of texts that are continued
WRITERS = frozenset({"seq2seq", "causal"})  # families that write
DEFAULTS: Mapping[str, str] = {"text": "minilm", "pair": "minilm", "image": "mobilenetv3_small_100"} | {
    "translate": "config:marian-tiny", "summarise": "config:t5-tiny", "generate": "config:gpt2-tiny",
}  # fmt: skip
DETECTOR = "yolox-s"
LINEAR = {"linear.weight", "linear.bias"}

__all__ = [
    "BUNDLE_FILE",
    "CLASSICAL",
    "COPYING",
    "COUNTING",
    "DEFAULTS",
    "DETECTOR",
    "build",
    "chunkable",
    "gathered",
    "is_bundle",
    "is_pretrained",
    "load",
    "renewed",
    "truncate",
]


def load(request: Request, modality: str) -> Model:
    """The model of a name: a control's, a bundle's folder, a transformers encoder or a timm network.

    Raises
    ------
    ModelError
        If there is no such model within reach, or it cannot read this kind of input.
    """
    model = _named(request, modality)
    if modality == "image" or request.name in (*CLASSICAL, *COPYING, *COUNTING):
        return model
    if request.told and not (model.recipe.get("languages") or model.recipe.get("prefix")):
        raise ModelError(
            f"{request.name} cannot be told languages: it has no codes for any.", hint="Leave --languages out."
        )
    from ukulele.models import new_tokens

    return new_tokens.grown(model, request)


def _named(request: Request, modality: str) -> Model:
    if request.name in CLASSICAL:
        from ukulele.models import classical

        return classical.load(request)
    if request.name in COPYING and request.writes:
        from ukulele.models import copying

        return copying.load(request)
    if request.name in COUNTING and request.writes:
        from ukulele.models import ngram

        return ngram.load(request)
    path = Path(request.name).expanduser()
    if is_bundle(path):
        return _from_bundle(path, request, modality)
    for folder in (path, path / "bundle"):
        if (folder / GROUPS).is_file():
            raise ModelError(
                f"{request.name} holds a model for each of several groups of tasks.",
                hint=f"Name one of them: --model {folder / 'group-1'}",
            )
    if modality == "image":
        from ukulele.models import detectors, hub, images

        if detectors.knows(request.name):
            return detectors.load(request)

        if "model_type" in hub.settings(path / "config.json"):
            raise ModelError(
                f"{request.name} is a transformers model; the data are pictures.", hint="Name a timm network."
            )
        return images.load(request)
    if request.writes:
        from ukulele.models import writers

        return writers.load(request)
    if path.suffix == ".safetensors" and path.is_file():
        raise ModelError(
            f"{request.name} is a single file of weights, as image networks have; the data are texts.",
            hint="Name a folder with config.json, tokenizer.json and model.safetensors, or `minilm`.",
        )
    from ukulele.models import encoders

    return encoders.load(request)


def is_pretrained(name: str) -> bool:
    """Whether a name is that of a file of weights, or of a detector, rather than of a run or a bundle."""
    from ukulele.models import detectors

    path = Path(name).expanduser()
    if path.exists():
        return path.is_file() and path.suffix in {".safetensors", *detectors.STATE}
    return detectors.named(name) is not None


def renewed(model: Model) -> Model:
    """A detector whose head is drawn anew for all classes, those that it knows by name, too."""
    from ukulele.models import detectors

    return detectors.renewed(model)


def build(recipe: Mapping[str, Any], assets: Mapping[str, bytes], seed: int = 0, *, whole: bool = True) -> Model:
    """The model a recipe describes, its weights drawn from `seed`, to be filled in by the caller.

    Where not `whole`, what it gathers from several stages is left out: the trunk as it was.

    Raises
    ------
    ModelError
        If the recipe is of a family this version does not know.
    """
    columns = recipe.get("gather")
    recipe = {name: value for name, value in recipe.items() if name != "gather"}
    match recipe.get("family"):
        case "transformers":
            from ukulele.models import encoders

            model = encoders.build(recipe, assets, seed)
        case "timm":
            from ukulele.models import images

            model = images.build(recipe, assets, seed)
        case "seq2seq":
            from ukulele.models import seq2seq

            return seq2seq.build(recipe, assets, seed)
        case "causal":
            from ukulele.models import causal

            model = causal.build(recipe, assets, seed)
        case "copying":
            from ukulele.models import copying

            return copying.build(recipe)
        case "yolox" | "yolo9" | "dfine":
            from ukulele.models import detectors

            return detectors.build(recipe, assets, seed)
        case "classical":
            from ukulele.models import classical

            model = classical.build(recipe, assets)
        case other:
            raise ModelError(f"the bundle holds a model of the family {other!r}, which this version does not know.")
    stop = recipe.get("stop")
    model = _stopped(model, stop["stage"], stop["width"]) if stop else model
    return gathered(model, dict(columns)) if columns and whole else model


def chunkable(recipe: Mapping[str, Any]) -> bool:
    """Whether the model of a recipe would read long texts in pieces, were it asked to (`--long chunk`)."""
    if recipe.get("family") != "transformers":
        return False
    from ukulele.models import encoders

    return encoders.chunkable(recipe["config"]["model_type"], recipe["inputs"])


def gathered(model: Model, columns: Mapping[str, Sequence[int]]) -> Model:
    """The model with columns of several stages' summaries, one behind the other, as `pooled`."""
    from ukulele.models.joined import joined

    return joined(model, columns)


def _from_bundle(path: Path, request: Request, modality: str) -> Model:
    bundle = read_bundle(path, partial(build, whole=False))
    model = bundle.model
    family, theirs = model.recipe["family"], bundle.about.get("modality", "?")
    if (modality == "image") != (theirs == "image"):
        raise ModelError(f"{path} was made for {theirs} data; this data set is {modality}.")
    if family in {"yolox", "yolo9", "dfine"}:
        from ukulele.models import detectors

        task = next((name for name, plain in bundle.about["tasks"].items() if plain["kind"] == "detect"), None)
        if task is not None:  # the head as it was trained is where the next task begins
            own = {name.replace("body.", "head.", 1): value for name, value in bundle.heads[task].items()}
            model = detectors.adopt(model, own, bundle.about["tasks"][task]["labels"])
    card = Card(
        origin=str(path),
        source_task=str(bundle.about.get("trained_on", "unknown")),
        licence=str(bundle.about.get("licence", "unknown")),
        parents=tuple(bundle.about.get("parents", ())),
    )
    if (family in WRITERS) != bool(request.writes) and family != "causal":  # a decoder can read, too
        does, wanted = ("reads", "writes") if request.writes else ("writes", "reads")
        raise ModelError(f"{path} holds a model that {does} texts; one that {wanted} them was expected.")
    if not request.pretrained:
        model = build(model.recipe, model.assets, request.seed, whole=False)
        card = Card(f"{path}, random weights", "none", card.licence)
    if family == "transformers":
        from ukulele.models import encoders

        stop = model.recipe.get("stop")
        model = encoders.resize(model, request)
        model = _stopped(model, stop["stage"], model.width) if stop else model
    if family == "causal":
        from ukulele.models import causal

        model = causal.resize(model, request) if request.writes else causal.reader(model, request)
    if family == "seq2seq":
        from ukulele.models import seq2seq

        model = seq2seq.adapt(model, request)
    classifier = _classifier(bundle, model.width) if request.pretrained else None
    name = path.resolve().parent.name if path.name == "bundle" else path.name
    return replace(model, name=name, card=card, classifier=classifier)


def _classifier(bundle: Bundle, width: int) -> tuple[Tensor, Tensor] | None:
    """The first of a bundle's heads that is a linear map to classes."""
    for task, head in bundle.heads.items():
        kind = bundle.about["tasks"].get(task, {}).get("kind")
        if kind == "classify" and set(head) == LINEAR and head["linear.weight"].shape[1] == width:
            return head["linear.weight"], head["linear.bias"]
    return None


def unknown_tokens(model: Model, inputs: Sequence[tuple[Any, ...]]) -> tuple[int, int]:
    """How many tokens of some rows stand for words that the model has no pieces for, and how many tokens there are."""
    from ukulele.models.wordless import count

    return count(model, inputs)


def truncate(model: Model, stop: str, sample: Sequence[tuple[Any, ...]]) -> Model:
    """The model up to and including stage `stop`, its summary there as `pooled`.

    `sample` holds the raw inputs of a row or two, to learn the width at that stage.
    """
    import torch

    from ukulele.tools.collate import collate

    names = [stage.name for stage in model.stages]
    if stop not in names:
        raise ModelError(f"{model.name} has no stage {stop!r}.", hint="Its stages: " + ", ".join(names))
    if stop == names[-1]:
        return model
    for stage in model.stages:
        stage.module.eval()
    with torch.inference_mode():
        live = collate(model.encode(sample[:1], [0]), model.inputs)
        width = int(model.summary(model.run(live, 0, names.index(stop) + 1)).shape[1])
    return _stopped(model, stop, width)


def _stopped(model: Model, stop: str, width: int) -> Model:
    from ukulele.models.stages import Summary

    kept = model.stages[: [stage.name for stage in model.stages].index(stop) + 1]
    pool = Stage("pool", Summary(model.summary), {"pooled": Field()})
    return replace(
        model,
        stages=(*kept, pool),
        width=width,
        recipe={**model.recipe, "stop": {"stage": stop, "width": width}},
        summary=lambda live: _summary(model, live),
        classifier=None,
        answers=None,
    )


def _summary(model: Model, live: Tensors) -> Any:
    return live["pooled"] if "pooled" in live else model.summary(live)
