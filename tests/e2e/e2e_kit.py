"""Small data, and ways to run the command line and to kill it."""

from __future__ import annotations

import csv
import importlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GOOD = ["good", "fine"]
BAD = ["bad", "awful"]
PLAIN = [f"w{i}" for i in range(40)]


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        """Everything that was said, on one line."""
        return " ".join(f"{self.out} {self.err}".split())


def environment(home: Path) -> dict[str, str]:
    """That of a command that shares nothing with other tests and asks no network."""
    return {
        **os.environ, "UKULELE_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(home / "hub"), "COLUMNS": "100", "NO_COLOR": "1",
    }  # fmt: skip


def spawn(home: Path, *args: object, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
    """`uke` in a process of its own, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "ukulele.cli", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment(home) | more,
        # a shell's background job ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def shell(home: Path, *args: object, cwd: Path | None = None, **more: str) -> Answer:
    """`uke` in a process of its own, to its end."""
    process = spawn(home, *args, cwd=cwd, **more)
    out, err = process.communicate(timeout=240)
    return Answer(process.returncode, out, err)


def record_of(run: Path) -> dict[str, Any]:
    """A run's record."""
    found: dict[str, Any] = json.loads((run / "record.json").read_text("utf-8"))
    return found


# ---------------------------------------------------------------- data


def sentence(draw: random.Random, good: bool, length: int = 7) -> str:
    """A sentence whose words tell whether it is good."""
    words = draw.choices(PLAIN, k=length) + draw.choices(GOOD if good else BAD, k=2)
    draw.shuffle(words)
    return " ".join(words)


def rows_of(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Labelled sentences with all the columns that the tests ask for."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        good = number % 2 == 0
        loud = draw.random() < 0.4
        text = sentence(draw, good, draw.randint(4, 12)) + (" song string" if loud else "")
        rows.append(
            {
                "text": text,
                "label": "good" if good else "bad",
                "marks": ";".join(["good" if good else "bad", *(["loud"] if loud else [])]),
                "is_good": int(good),
                "is_loud": int(loud),
                "score": round(good + draw.random(), 3),
                "shop": f"shop {number % 9}",
                "day": f"2024-{number * 12 // count + 1:02d}-{number % 28 + 1:02d}",
                "first": text,
                "second": sentence(draw, good),
            }
        )
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Some columns of some rows as a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def picture(seed: int, red: bool, side: int = 40) -> Image.Image:
    """Noise that leans to red or to blue."""
    pixels = np.random.default_rng(seed).integers(0, 120, (side, side, 3))
    pixels[..., 0 if red else 2] += 110
    return Image.fromarray(pixels.astype(np.uint8))


# ---------------------------------------------------------------- killing


@dataclass(frozen=True)
class Death:
    """Where a process kills itself: before or behind the nth call of a function, or at the nth event (its name)."""

    at: str  # "module:name" or "event:Stepped"
    nth: int = 1
    behind: bool = False


def live_and_die(source: Path, out: Path, options: Mapping[str, Any], death: Death | None, resume: bool) -> None:
    """In a process of its own: fit or go on with a run, up to the death."""
    import ukulele

    heard = {"count": 0}

    def die_at(event: object) -> None:
        if death is not None and death.at == f"event:{type(event).__name__}":
            heard["count"] += 1
            if heard["count"] == death.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    if death is not None and not death.at.startswith("event:"):
        _rig(death)
    if resume:
        ukulele.fit(source, resume=out, hear=die_at)
    else:
        ukulele.fit(source, out=out, hear=die_at, **options)


def _rig(death: Death) -> None:
    module, name = death.at.split(":")
    place: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for step in path:
        place = getattr(place, step)
    real, calls = getattr(place, last), {"count": 0}

    def rigged(*args: Any, **named: Any) -> Any:
        calls["count"] += 1
        fatal = calls["count"] == death.nth
        if fatal and not death.behind:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **named)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, last, rigged)


def in_a_process(*args: Any) -> int | None:
    """`live_and_die` in a process of its own; its exit code, -9 where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ukulele.story.pipeline", "ukulele.models.encoders", "transformers.models.bert.modeling_bert"]
    )
    process = context.Process(target=live_and_die, args=args)
    process.start()
    process.join(200)
    return process.exitcode
