"""Peer: libreyolo's own trainer and validator; pictures with boxes to mean average precision on the test split."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="data.yaml with train, val and test")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", default="n")
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--freeze", help="names of modules that stay as they are, with commas between")
    parser.add_argument("--plain", action="store_true", help="without mosaic and mixup, scored after every epoch")
    parser.add_argument("--unscored", action="store_true", help="no score on validation: what training alone takes")
    parser.add_argument("--out", type=Path, help="ignored: nothing is kept")
    options = parser.parse_args()

    start = time.perf_counter()
    from libreyolo import LibreYOLOX

    model = LibreYOLOX(str(options.weights), size=options.size)
    loaded = time.perf_counter()
    more: dict[str, Any] = {"freeze": options.freeze.split(",")} if options.freeze else {}
    if options.plain:
        more |= {"mosaic_prob": 0.0, "mixup_prob": 0.0, "eval_interval": 1}
    if options.unscored:
        more["eval_interval"] = 0
    with tempfile.TemporaryDirectory() as folder:
        model.train(
            data=str(options.data), epochs=options.epochs, batch=options.batch, imgsz=options.side, workers=0,
            device="cpu", amp=False, seed=0, project=folder, name="peer", **more,
        )  # fmt: skip
        trained = time.perf_counter()
        best = next(iter(sorted(Path(folder).rglob("best*.pt"))), None)
        best = best or next(iter(sorted(Path(folder).rglob("last*.pt"))))
        scored = LibreYOLOX(str(best), size=options.size)
        found = scored.val(
            data=str(options.data), split="test", imgsz=options.side, iou=0.65, conf=0.001, workers=0, device="cpu"
        )
    flat = found if isinstance(found, dict) else vars(found)
    result = {"map50_95": float(flat["metrics/mAP50-95"]), "map50": float(flat["metrics/mAP50"])}
    seconds = {"train": round(trained - loaded, 1), "all": round(time.perf_counter() - start, 1)}
    print(json.dumps({**result, "seconds": seconds}))


if __name__ == "__main__":
    main()
