"""Peer: transformers' Trainer on windows of plain text, from the weights of a bundle, its lower layers frozen."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hardware import fast_bf16
from transformers import Trainer, TrainingArguments, default_data_collator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frozen", type=int, default=0, help="the embeddings and so many blocks less one")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--best", action="store_true", help="whole windows without padding, bf16 where it is native")
    parser.add_argument("--out", type=Path, help="ignored: nothing is kept")
    options = parser.parse_args()

    from ukulele import data, models  # for the very same weights, tokens and windows
    from ukulele.data.options import ReadOptions
    from ukulele.models.bundle import read_bundle
    from ukulele.types import with_answer

    model = read_bundle(options.bundle, models.build).model
    net: Any = model.net
    net.set_attn_implementation("sdpa")
    if options.frozen:
        apart = model.untie(options.frozen) if model.untie else model
        for stage in apart.stages[: options.frozen]:
            for parameter in stage.module.parameters():
                parameter.requires_grad_(False)
    assert model.windows is not None
    read = data.windows(
        data.read(options.data, ReadOptions(task="generate"), Path(tempfile.gettempdir())), model.windows, 0
    )
    rows = [row["ids"].tolist() for row in model.encode([with_answer(row, "text") for row in read.splits["train"]], [])]
    length = int(model.limit or 0)
    if options.best:  # packed as the library's own script does: one stream, cut at the length
        stream = [token for row in rows for token in row]
        blocks = [stream[at : at + length] for at in range(0, len(stream) - length + 1, length)]
        examples = [{"input_ids": block, "labels": block} for block in blocks]
    else:
        examples = [_padded(row, length) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=options.epochs, per_device_train_batch_size=options.batch,
            learning_rate=3e-4, weight_decay=0.01, logging_strategy="no", save_strategy="no", report_to=[],
            use_cpu=not torch.cuda.is_available(), seed=0, disable_tqdm=True, bf16=options.best and fast_bf16(),
        )  # fmt: skip
        trainer = Trainer(model=net, args=arguments, train_dataset=examples, data_collator=default_data_collator)
        found = trainer.train()
    seconds = float(found.metrics["train_runtime"])
    tokens = sum(map(len, rows)) - len(rows)
    taught = (len(examples) * (length - 1)) if options.best else tokens
    print(json.dumps({"per_second": taught * options.epochs / seconds, "loss": found.training_loss}))


def _padded(row: list[int], length: int) -> dict[str, list[int]]:
    more = length - len(row)
    return {
        "input_ids": row + [0] * more, "attention_mask": [1] * len(row) + [0] * more, "labels": row + [-100] * more,
    }  # fmt: skip


if __name__ == "__main__":
    main()
