"""Are copies across splits found? 50 training rows each are put into the test rows in other case, with other
punctuation (banking77), cut a little, and saved again as JPEG (hymenoptera).

Goals: 95 % of each kind are found, and at most 1 % of the other test rows are flagged.
"""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

import harness

PLANTED = 50
UKE = "--strategy probe --layer last --controls none"
IMAGES = "mobilenetv2_100_imagenet.safetensors"


def main() -> None:
    options = harness.arguments(__doc__, rounds=1).parse_args()
    with harness.staging() as folder:
        found = {"texts": texts(options, folder)} | {"pictures": pictures(options, folder)}
    flagged = {kind: one["flagged_of_the_others"] for kind, one in found.items()}
    shares = [share for one in found.values() for share in one["found"].values()]
    found |= {"reached": min(shares) >= 0.95 and max(flagged.values()) <= 0.01}
    harness.report(__file__, options, found)


def texts(options: Any, folder: Path) -> dict[str, Any]:
    """Questions in other case and with other punctuation."""
    draw, data = random.Random(0), folder / "texts"
    data.mkdir()
    train, test = (table(options.shared / "data" / "banking77" / f"{split}.csv") for split in ("train", "test"))
    if options.quick:
        train, test = train[:1500], test[::4]
    chosen = draw.sample(train, 2 * PLANTED)
    planted = {
        "case": [{**row, "text": row["text"].swapcase()} for row in chosen[:PLANTED]],
        "punctuation": [{**row, "text": repunctuated(row["text"])} for row in chosen[PLANTED:]],
    }
    rows = [*test, *planted["case"], *planted["punctuation"]]
    for name, some in (("train", train), ("test", rows)):
        with (data / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(train[0]))
            writer.writeheader()
            writer.writerows(some)
    listed = copies(data, ["--target", "intent"], folder)
    lines = {line["input"] for line in listed}
    share = {kind: sum(row["text"] in lines for row in some) / PLANTED for kind, some in planted.items()}
    others = [line for line in listed if int(line["line"]) - 2 < len(test)]
    return {"found": share, "flagged_of_the_others": round(len(others) / len(test), 4), "others": len(test)}


def repunctuated(text: str) -> str:
    """A text without its punctuation, in dashes and with an exclamation mark."""
    return " - ".join(text.replace("?", "").replace(".", "").replace(",", "").split(" ", 1)) + "!"


def pictures(options: Any, folder: Path) -> dict[str, Any]:
    """Pictures cut to 88 to 97 % of their sides, and saved again at a quality of 30 to 70."""
    draw, data = random.Random(0), folder / "pictures"
    shutil.copytree(options.shared / "data" / "hymenoptera", data)
    chosen = draw.sample(sorted(data.glob("train/*/*.jpg")), 2 * PLANTED)
    for at, path in enumerate(chosen):
        kind = "cut" if at < PLANTED else "saved"
        picture = Image.open(path).convert("RGB")
        if kind == "cut":
            width, height = (round(side * draw.uniform(0.88, 0.97)) for side in picture.size)
            left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
            picture = picture.crop((left, top, left + width, top + height))
        quality = 95 if kind == "cut" else draw.choice([30, 50, 70])
        picture.save(data / "val" / path.parent.name / f"planted-{kind}-{at}.jpg", quality=quality)
    listed = {Path(line["file"]).name for line in copies(data, ["--model", str(weights(options))], folder)}
    share = {kind: sum(f"-{kind}-" in name for name in listed) / PLANTED for kind in ("cut", "saved")}
    total = len([path for path in data.glob("val/*/*") if "planted" not in path.name])
    others = [name for name in listed if "planted" not in name]
    return {"found": share, "flagged_of_the_others": round(len(others) / total, 4), "others": total}


def weights(options: Any) -> Path:
    """The image network."""
    path: Path = (options.shared / "weights" / IMAGES).resolve()
    return path


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def copies(data: Path, flags: list[str], folder: Path) -> list[dict[str, str]]:
    """The test rows that a run lists."""
    run = harness.kept(data, [*UKE.split(), *flags], folder / f"{data.name}-run")
    return [line for line in table(run / "copies.csv") if line["split"] == "test"]


if __name__ == "__main__":
    main()
