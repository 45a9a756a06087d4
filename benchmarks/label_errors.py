"""Are wrong labels found? 5 % of banking77's training labels are flipped, to any class or to the likeliest confusion.

Goals, three seeds: of flips to any class 95 % are found at a precision of .80 or more, of flips to the likeliest
confusion 75 % at .50 or more. `recall` and `precision` are those of the whole of suspects.csv as a run leaves it;
`at_goal` is the precision of the beginning of it that holds as many flips as the goal asks for. The data's own wrong
labels count as false alarms.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

import harness

SHARE = 0.05
GOALS = {"any": (0.95, 0.80), "confusion": (0.75, 0.50)}
UKE = "--target intent --text text --strategy probe --layer last --controls none"


def main() -> None:
    options = harness.arguments(__doc__, rounds=1).parse_args()
    seeds = (0,) if options.quick else (0, 1, 2)
    found: dict[str, Any] = {}
    with harness.staging() as folder:
        rows = table(options.shared / "data" / "banking77" / "train.csv")
        if options.quick:
            kept = sorted({row["intent"] for row in rows})[:12]
            rows = [row for row in rows if row["intent"] in kept]
        test = table(options.shared / "data" / "banking77" / "test.csv")
        test = [row for row in test if row["intent"] in {one["intent"] for one in rows}]
        likely = confusions(rows, test, folder)
        for kind, (recall, precision) in GOALS.items():
            runs = {str(seed): flipped(kind, seed, rows, test, likely, folder) for seed in seeds}
            reached = all(run["at_goal"] >= precision for run in runs.values())
            found[kind] = {"goal": {"recall": recall, "precision": precision}, "reached": reached, "seeds": runs}
    harness.report(__file__, options, found)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def places(path: Path) -> dict[int, int]:
    """The number of each row of a CSV file by the line that it begins in: some cells hold several lines."""
    found, line = {}, 2
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for number, _ in enumerate(reader):
            found[line], line = number, reader.line_num + 1
    return found


def fitted(name: str, rows: list[dict[str, str]], test: list[dict[str, str]], folder: Path) -> Path:
    """A run on some rows: its folder."""
    data = folder / name
    data.mkdir()
    for split, some in (("train", rows), ("test", test)):
        with (data / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "intent"])
            writer.writeheader()
            writer.writerows(some)
    return harness.kept(data, UKE.split(), folder / f"{name}-run")


def confusions(rows: list[dict[str, str]], test: list[dict[str, str]], folder: Path) -> dict[int, str]:
    """For each training row that the clean run held out, the likeliest class beside its own."""
    from ukulele.data import ReadOptions, read
    from ukulele.tools.files import load_tree

    run = fitted("clean", rows, test, folder)
    data = read(folder / "clean", ReadOptions(target=("intent",), inputs=("text",)), folder / "tables")
    (result,) = (run / "results").glob("probe*.safetensors")
    answers = load_tree(result)["held"]["intent"].numpy()
    labels, at = data.targets[0].labels, places(folder / "clean" / "train.csv")
    likely = {}
    for row, log in zip(data.splits["train"], answers, strict=True):
        order = [labels[int(i)] for i in np.argsort(-log)[:2]]
        likely[at[int(row.where.line or 0)]] = next(label for label in order if label != row.targets["intent"])
    return likely


def flipped(
    kind: str,
    seed: int,
    rows: list[dict[str, str]],
    test: list[dict[str, str]],
    likely: dict[int, str],
    folder: Path,
) -> dict[str, float]:
    """How well flips of one kind are found."""
    draw, labels = np.random.default_rng(seed), sorted({row["intent"] for row in rows})
    pool = list(range(len(rows))) if kind == "any" else sorted(likely)
    chosen = set(draw.permutation(pool)[: round(SHARE * len(rows))].tolist())
    changed = [dict(row) for row in rows]
    for at in sorted(chosen):
        others = [label for label in labels if label != rows[at]["intent"]]
        changed[at]["intent"] = str(draw.choice(others)) if kind == "any" else likely[at]
    run = fitted(f"{kind}-{seed}", changed, test, folder)
    number = places(folder / f"{kind}-{seed}" / "train.csv")
    listed = [number[int(line["line"])] for line in table(run / "suspects.csv") if line["split"] != "test"]
    hits = np.cumsum([at in chosen for at in listed])
    needed = int(np.ceil(GOALS[kind][0] * len(chosen)))
    reached = np.flatnonzero(hits >= needed)
    return {
        "flipped": len(chosen),
        "listed": len(listed),
        "recall": round(float(hits[-1]) / len(chosen), 4) if listed else 0.0,
        "precision": round(float(hits[-1]) / len(listed), 4) if listed else 0.0,
        "at_goal": round(needed / float(reached[0] + 1), 4) if len(reached) else 0.0,
    }


if __name__ == "__main__":
    main()
