"""Peer: transformers' Trainer on windows of plain text, from the weights of a bundle, its lower layers frozen.

The network is the library's own, with its own dropout and attention; weights, tokens and windows are the bundle's. The
rows are of equal length, so a DataLoader's workers would have nothing to do but to be waited for: there are none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hardware import fast_bf16
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frozen", type=int, default=0, help="the embeddings and so many blocks less one")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--best", action="store_true", help="one stream without padding, bf16 where it is native")
    parser.add_argument("--out", type=Path, help="ignored: nothing is kept")
    options = parser.parse_args()

    from ukulele import data, models  # for the very same weights, tokens and windows
    from ukulele.data.options import ReadOptions
    from ukulele.models.bundle import read_bundle
    from ukulele.types import with_answer

    model = read_bundle(options.bundle, models.build).model
    net = network(model, options.frozen)
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


def network(model: Any, frozen: int) -> Any:
    """The library's own network with a model's weights; where part is frozen the output layer is one of its own."""
    from ukulele.models import hub

    net = AutoModelForCausalLM.from_config(hub.config_from(model.recipe["config"]), attn_implementation="sdpa")
    net.load_state_dict(model.net.state_dict())
    if frozen:
        net.config.tie_word_embeddings = False
        net.lm_head.weight = torch.nn.Parameter(net.lm_head.weight.detach().clone())
        body = net.transformer
        for module in (body.wte, body.wpe, *body.h[: frozen - 1]):
            module.requires_grad_(False)
    return net


def _padded(row: list[int], length: int) -> dict[str, list[int]]:
    more = length - len(row)
    return {
        "input_ids": row + [0] * more, "attention_mask": [1] * len(row) + [0] * more, "labels": row + [-100] * more,
    }  # fmt: skip


if __name__ == "__main__":
    main()
