"""Peer: transformers' Seq2SeqTrainer from the weights of a bundle, its encoder frozen or not; seconds of an epoch."""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hardware import fast_bf16
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast, Seq2SeqTrainer, Seq2SeqTrainingArguments

DEFAULT: dict[str, Any] = {}
BEST: dict[str, Any] = {"train_sampling_strategy": "group_by_length", "bf16": fast_bf16()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the encoder is trained, too")
    parser.add_argument("--out", type=Path, help="ignored: nothing is kept")
    options = parser.parse_args()

    from ukulele import models  # for the very same weights and tokenizer
    from ukulele.models.bundle import read_bundle
    from ukulele.models.words import from_assets

    model = read_bundle(options.bundle, models.build).model
    net: Any = model.net
    net.set_attn_implementation("sdpa")
    words = from_assets(model.assets)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words.tokenizer, pad_token="<pad>", eos_token="</s>")
    for parameter in () if options.whole else net.get_encoder().parameters():
        parameter.requires_grad_(False)
    with (options.data / "train.csv").open(newline="", encoding="utf-8") as file:
        pairs = [(row["en"], row["de"]) for row in csv.DictReader(file)]
    sides = (words.ids(side, 511) for side in zip(*pairs, strict=True))
    rows = [
        {"input_ids": [*a, words.eos], "attention_mask": [1] * (len(a) + 1), "labels": [*b, words.eos]}
        for a, b in zip(*sides, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder, num_train_epochs=options.epochs, per_device_train_batch_size=options.batch,
            learning_rate=3e-4, warmup_steps=0.1, weight_decay=0.01, logging_strategy="no", save_strategy="no",
            report_to=[], use_cpu=not torch.cuda.is_available(), seed=0, label_smoothing_factor=0.1,
            disable_tqdm=True, **(BEST if options.best else DEFAULT),
        )  # fmt: skip
        trainer = Seq2SeqTrainer(
            model=net, args=arguments, train_dataset=rows, data_collator=DataCollatorForSeq2Seq(tokenizer, model=net),
            processing_class=tokenizer,
        )  # fmt: skip
        found = trainer.train()
    seconds = float(found.metrics["train_runtime"])
    tokens = sum(len(row["labels"]) for row in rows)
    answer = {
        "epoch": seconds / options.epochs,
        "per_second": tokens * options.epochs / seconds,
        "loss": found.training_loss,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
