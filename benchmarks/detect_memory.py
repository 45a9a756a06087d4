"""Peak anonymous memory (RssAnon) and cache of a detector with a frozen backbone: 1,000 pictures against 10,000.

The pictures are small and drawn at random, five boxes on each; YOLOX-nano sees them at 160 pixels. Goal: flat memory,
at most 300 MB more for the larger set, and a cache within its budget, which is too small for all features of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import harness
from memory_pass import watch

SIZES, QUICK = (1_000, 10_000), (500, 2_000)
PIXELS, SEEN = (128, 96), 160
BOXES = 5
COLOURS = ("#c2334d", "#2563c9", "#1e8449")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
ROOM = 90e3  # bytes of the features of a picture, about
ALLOWED = 300e6  # bytes


def main() -> None:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--sizes", type=int, nargs=2, metavar="PICTURES")
    options = parser.parse_args()
    small, large = options.sizes or (QUICK if options.quick else SIZES)
    budget = ROOM * (small + large) / 2  # all of the smaller set, not all of the larger
    with harness.staging() as folder:
        weights = smaller(options.shared.resolve() / "weights" / "yolox_nano_coco.safetensors", folder)
        found = {str(n): measure(write(folder / f"pictures{n}", n), weights, budget) for n in (small, large)}
    growth = found[str(large)]["peak_rss_anon_bytes"] - found[str(small)]["peak_rss_anon_bytes"]
    within = {"memory": growth <= ALLOWED, "cache": all(one["cache_bytes"] <= budget for one in found.values())}
    harness.report(__file__, options, {"budget": budget, "sizes": found, "growth_bytes": growth, "within": within})


def smaller(weights: Path, folder: Path) -> Path:
    """The same weights, told to see pictures at fewer pixels."""
    from safetensors.torch import load_file, save_file

    path = folder / "nano.safetensors"
    save_file(load_file(weights), path, metadata={"input": str(SEEN)})
    return path


def write(root: Path, count: int) -> Path:
    """So many pictures as YOLO has them, in splits."""
    number = 0
    for split, share in SHARES.items():
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True)
        for _ in range(round(count * share)):
            picture, lines = drawn(number)
            picture.save(root / "images" / split / f"{number:06}.jpg", quality=90)
            (root / "labels" / split / f"{number:06}.txt").write_text(lines)
            number += 1
    lines = [f"{split}: images/{split}" for split in SHARES]
    (root / "data.yaml").write_text("\n".join([f"path: {root}", *lines, "names: [red, blue, green]", ""]))
    return root


def drawn(number: int) -> tuple[Image.Image, str]:
    """A picture with boxes of three colours, and its lines."""
    random = np.random.default_rng(number)
    width, height = PIXELS
    picture = Image.fromarray(random.integers(60, 200, (height // 8, width // 8, 3)).astype(np.uint8)).resize(PIXELS)
    brush, lines = ImageDraw.Draw(picture), []
    for _ in range(BOXES):
        side, kind = int(random.integers(14, 30)), int(random.integers(0, len(COLOURS)))
        left, top = int(random.integers(0, width - side)), int(random.integers(0, height - side))
        brush.rectangle((left, top, left + side, top + side), fill=COLOURS[kind])
        x, y = (left + side / 2) / width, (top + side / 2) / height
        lines.append(f"{kind} {x:.5f} {y:.5f} {side / width:.5f} {side / height:.5f}\n")
    return picture, "".join(lines)


def measure(data: Path, weights: Path, budget: float) -> harness.Json:
    """Fit with a frozen backbone for two epochs and watch memory and cache."""
    out = data.parent / f"out-{data.name}"
    out.mkdir()
    argv = [sys.executable, "-m", "ukulele.cli", "fit", str(data), "--model", str(weights), "--strategy", "finetune"]
    argv += ["--freeze", "backbone", "--views", "1", "--epochs", "2", "--controls", "none", "--seed", "0"]
    argv += ["--cache-budget", f"{budget / 2**30:.6f}", "--out", str(out / "run")]
    start = time.perf_counter()
    with (out / "said").open("w+") as said:
        environment = harness.environment(out)
        process = subprocess.Popen(argv, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=out)
        peak = watch(process)
        if process.returncode:
            said.seek(0)
            sys.exit(f"the fit ended with {process.returncode}:\n{said.read()[-3000:]}")
    stored = sum(path.stat().st_size for path in (out / "cache").rglob("*") if path.is_file())
    record = json.loads((out / "run" / "record.json").read_text("utf-8"))
    return {
        "peak_rss_anon_bytes": peak,
        "cache_bytes": stored,
        "wall_seconds": round(time.perf_counter() - start, 1),
        "map50": record["test"]["map50"]["value"],
        "phases": record["cost"]["phases"],
    }


if __name__ == "__main__":
    main()
