"""The feature pass alone: read a CSV file, run every row through the frozen model, store the pooled vectors."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ukulele import data, features, models
from ukulele.features import Pass
from ukulele.loop.engine import choose_precision
from ukulele.types import Request


def main() -> None:
    """Prints seconds and rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    dataset = data.read(options.data, data.ReadOptions(target=("label",)), options.cache)
    rows = dataset.splits["train"]
    model = models.load(Request("minilm"), dataset.modality)
    wanted = Pass(len(model.stages), dtype=choose_precision("auto", "cpu"))
    began = time.perf_counter()
    store = features.frozen_pass(model, rows, wanted, features.Cache(options.cache), lambda _: None)
    print(json.dumps({"rows": len(store), "seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
