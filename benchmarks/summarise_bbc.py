"""Summaries of news whose references are sentences of the article: is a small model trained here better than the first
three sentences? And does memory stay flat, with articles joined to some 4,000 tokens, as they become more?

The model has few passes over few articles, all of its own training: it need not win, and what is said is the verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

SMALL: list[object] = ["--model", "config:marian-tiny", "--strategy", "scratch", "--rate", 1e-3, "--batch", 8]
EPOCHS = 3
JOINED = 4  # articles that are joined to one
LONG = 4096  # tokens
SIZES = (6, 24)  # long articles
TALL: list[object] = ["--model", "config:t5-tiny", "--max-length", LONG, "--batch", 1, "--epochs", 1]
TALL += ["--controls", "none", "--metric", "perplexity"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parent.parent / "shared")
    parser.add_argument("--quick", action="store_true", help="48 articles and one epoch: shows that all of it runs")
    parser.add_argument("--only", choices=("quality", "memory"), help="one of the two questions")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the first question (default %(default)s)")
    options = parser.parse_args()
    news = options.shared / "data" / "bbc_news"
    found: dict[str, Any] = {"quick": options.quick, "machine": harness.machine()}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if options.only in {None, "quality"}:
            data = stage(news, home / "bbc", 48 if options.quick else None)
            found["quality"] = fit(home, data, [*SMALL, "--epochs", 1 if options.quick else options.epochs])
        if options.only in {None, "memory"}:
            sizes = (4, 8) if options.quick else SIZES
            for size in sizes:
                data = joined(news, home / f"long-{size}", size)
                found[f"{size} long articles"] = fit(home, data, TALL)
            first, last = (found[f"{size} long articles"]["memory"] for size in sizes)
            found["memory, times"] = last / first
    print(json.dumps(found, indent=1))


def stage(source: Path, folder: Path, count: int | None) -> Path:
    """The data, or the first rows of each split."""
    folder.mkdir()
    for split in ("train", "val", "test"):
        lines = (source / f"{split}.jsonl").read_text("utf-8").splitlines(keepends=True)
        kept = count if count is None or split == "train" else count // 4
        (folder / f"{split}.jsonl").write_text("".join(lines[:kept]), "utf-8")
    return folder


def joined(source: Path, folder: Path, count: int) -> Path:
    """Articles joined to long ones, with the summary of the first."""
    folder.mkdir()
    rows = [json.loads(line) for line in (source / "train.jsonl").read_text("utf-8").splitlines()]
    for split, size, shift in (("train", count, 0), ("val", 4, 200), ("test", 4, 300)):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(size):
                some = [rows[(shift + number * JOINED + i) % len(rows)] for i in range(JOINED)]
                row = {"article": "\n\n".join(one["article"] for one in some), "summary": some[0]["summary"]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder


def fit(home: Path, data: Path, flags: list[object]) -> dict[str, Any]:
    """A run of `uke fit`: its figures, and the most memory its process held."""
    run = home / f"run-{data.name}"
    asked = ["fit", data, "--task", "summarise", "--text", "article", "--target", "summary", *flags, "--out", run]
    os.environ["UKULELE_CACHE"] = str(home / "cache")
    began = time.perf_counter()
    process = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "ukulele.cli", *map(str, asked)], os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
    )  # fmt: skip
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"uke fit ended with {os.waitstatus_to_exitcode(status)}")
    record = json.loads((run / "record.json").read_text("utf-8"))
    found = {
        "rows": record["data"]["rows"],
        "candidates": {c["name"]: {m: e["value"] for m, e in c["test"].items()} for c in record["candidates"]},
        "verdict": record["verdict"],
        "counts": record["writing"]["counts"],
        "tokens": record["writing"]["tokens"],
        "memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "wall": round(time.perf_counter() - began, 1),
    }
    harness.note(json.dumps({data.name: found}))
    return found


if __name__ == "__main__":
    main()
