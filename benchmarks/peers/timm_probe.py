"""Peer: timm, torch's DataLoader and scikit-learn's logistic regression; folders of pictures to test accuracy."""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from hardware import fast_bf16

STRENGTHS = (1e-4, 1e-3, 0.01, 0.1, 1.0)  # C, chosen on val, or by cross-validation where there is no val
DEFAULT = {"precision": "fp32", "layout": "nchw", "batch": 32, "workers": 0}
BEST = {"precision": "autocast" if fast_bf16() else "fp32", "layout": "nhwc", "batch": 32, "workers": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "autocast", "bf16"])
    parser.add_argument("--layout", choices=["nchw", "nhwc"])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, help="ignored: nothing is written")
    options = parser.parse_args()
    marks = {"start": time.perf_counter()}
    table = BEST if options.best else DEFAULT
    chosen = {name: getattr(options, name) if getattr(options, name) is not None else table[name] for name in table}

    from torchvision.datasets import ImageFolder

    marks["import"] = time.perf_counter()
    model, transform = load(options.weights)
    marks["load"] = time.perf_counter()
    names = [name for name in ("train", "val", "test") if (options.data / name).is_dir()]
    encoded = {name: encode(model, ImageFolder(options.data / name, transform), chosen) for name in names}
    marks["encode"] = time.perf_counter()
    result = probe(encoded)
    marks["fit"] = time.perf_counter()
    keys = list(marks)
    phases = {b: round(marks[b] - marks[a], 2) for a, b in pairwise(keys)}
    print(json.dumps({**result, "settings": chosen, "phases": phases}))


def load(path: Path) -> tuple[Any, Any]:
    """The network without its classifier, and the transform its weights were made for."""
    import timm
    import torch
    from safetensors import safe_open
    from torchvision import transforms

    with safe_open(path, "pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    model = timm.create_model(about["architecture"], num_classes=0, pad_type=about["pad_type"])
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    size = int(about["input"])
    mean, std = ([float(value) for value in about[name].split(",")] for name in ("mean", "std"))
    steps = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(mean, std)]
    return model.eval().requires_grad_(requires_grad=False).to(torch.float32), transforms.Compose(steps)


def encode(model: Any, pictures: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Features (rows, width) and labels (rows,) of a folder of pictures."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader

    dtype = torch.bfloat16 if settings["precision"] == "bf16" else torch.float32
    layout = torch.channels_last if settings["layout"] == "nhwc" else torch.contiguous_format
    model = model.to(dtype=dtype, memory_format=layout)
    features, labels = [], []
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=settings["precision"] == "autocast"),
    ):
        for batch, target in DataLoader(pictures, settings["batch"], num_workers=settings["workers"]):
            features.append(model(batch.to(dtype=dtype, memory_format=layout)).float().numpy())
            labels.append(target.numpy())
    return np.concatenate(features), np.concatenate(labels)


def probe(encoded: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Test accuracy of the logistic regression whose strength validation likes best."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def new(strength: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))

    if "val" in encoded:
        scores = [new(c).fit(*encoded["train"]).score(*encoded["val"]) for c in STRENGTHS]
    else:
        scores = [float(cross_val_score(new(c), *encoded["train"]).mean()) for c in STRENGTHS]
    chosen = scores.index(max(scores))
    accuracy = new(STRENGTHS[chosen]).fit(*encoded["train"]).score(*encoded["test"])
    return {"accuracy": accuracy, "validation": scores[chosen], "C": STRENGTHS[chosen]}


if __name__ == "__main__":
    main()
