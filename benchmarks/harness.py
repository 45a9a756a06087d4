"""Time whole programs beside each other: alternating rounds, wall and CPU seconds, peak memory, one JSON summary.

Each program is started fresh and timed from outside, imports included. A peer prints its result as the last
line of standard output, a JSON object; Ukulele leaves it in `record.json` of its run folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
OURS = "ukulele"
SPREAD = 0.20  # (max - min) / median of the wall seconds above which all rounds are run again
REPEATS = 2  # how often at most
QUALITY = ("accuracy", "map50_95", "map50")  # what a result may have of these is summed up
# what Ukulele sets for itself and no peer does, of oneDNN's kernels and of large pages: flags of a peer to have it, too
SURROUNDINGS = ("--set", "ONEDNN_PRIMITIVE_CACHE_CAPACITY=4096", "THP_MEM_ALLOC_ENABLE=1")
LIBRARIES = ("ukulele", "torch", "transformers", "sentence-transformers", "timm", "scikit-learn", "numpy", "accelerate")

Json: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Command:
    """A program to time. `argv(out)` is its command line, given an empty folder; `result` reads its answer.

    A peer names the program of ours that it is held against.
    """

    name: str
    argv: Callable[[Path], Sequence[str]]
    result: Callable[[str, Path], Json]
    against: str = "ukulele"


@dataclass(frozen=True)
class Run:
    """What one run of a program took (children included) and what it answered."""

    wall: float  # seconds
    cpu: float  # seconds, user + system
    memory: int  # bytes, the largest resident set of any one process
    result: Json


class RunFailedError(Exception):
    """A program ended with an error; the message carries the end of what it said."""


def peer(name: str, script: str, *flags: object, against: str = OURS) -> Command:
    """A script of `peers/`, whose last printed line is its result."""

    def argv(out: Path) -> list[str]:
        return [sys.executable, str(PEERS / script), *map(str, flags), "--out", str(out / "peer")]

    return Command(name, argv, lambda stdout, _: last_json(stdout), against)


def ours(data: Path, flags: Sequence[str], name: str = OURS) -> Command:
    """`uke fit data` with the given flags; its result is the test accuracy of the run's record."""

    def argv(out: Path) -> list[str]:
        return [sys.executable, "-m", "ukulele.cli", "fit", str(data), *flags, "--out", str(out / "run")]

    return Command(name, argv, lambda _, out: from_record(out / "run" / "record.json"))


def kept(data: Path, flags: Sequence[str], folder: Path) -> Path:
    """`uke fit data` once, into `folder`, where it stays; features are shared by all that are kept beside it."""
    argv = [sys.executable, "-m", "ukulele.cli", "fit", str(data), *flags]
    argv += ["--cache", str(folder.parent / "cache"), "--out", str(folder)]
    took = measure(Command(folder.name, lambda _: argv, lambda _said, _out: from_record(folder / "record.json")))
    note(f"{folder.name}: {took.wall:.0f} s, {took.result}")
    return folder


def once(folder: Path | None, name: str, how: Callable[[], Json]) -> Json:
    """A measurement that an earlier, unfinished call left in a folder, or one that is made now and left there.

    The name says everything that the measurement depends on, but for the machine.
    """
    if folder is None:
        return how()
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.json"
    if path.is_file():
        note(f"{name}: measured before, in {path}")
        return dict(json.loads(path.read_text(encoding="utf-8")))
    found = how()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def reckoned(data: Path, flags: Sequence[str]) -> float:
    """The seconds that `uke fit data` says it would take on this machine: an upper bound, for it may stop early."""
    argv = [sys.executable, "-m", "ukulele.cli", "fit", str(data), *flags, "--dry-run"]
    run = measure(Command("dry run", lambda _: argv, lambda said, _: {"said": said}))
    match = re.search(r"in all\s+time\s+about (.+?) at most", run.result["said"])
    if match is None:
        raise RunFailedError(f"no time in {run.result['said'][-500:]!r}")
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (h|min|s)", match[1]))


def piecewise(parser: argparse.ArgumentParser, rows: int) -> None:
    """The options of a benchmark that takes hours as a whole."""
    parser.add_argument(
        "--rows", type=int, default=rows, help="training texts of a set, pictures a fifth; 0: all (default %(default)s)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave measurements there, and go on from those left"
    )
    parser.add_argument("--reckon", action="store_true", help="measure nothing, say how long it would take here")


def from_record(path: Path) -> Json:
    """The few figures a benchmark reads from Ukulele's record."""
    record = json.loads(path.read_text(encoding="utf-8"))
    costs = {one["name"]: dict(one["cost"]["phases"]) for one in record["candidates"]}
    return {"accuracy": record["test"]["accuracy"]["value"], "seconds": record["cost"]["seconds"], "phases": costs}


def training(run: Path) -> float:
    """Seconds of a run's training, with what fills the cache, without validation: Trainer has none by itself."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]
    record = json.loads((run / "record.json").read_text("utf-8"))
    phases = dict(record["candidates"][0]["cost"]["phases"])
    judging = 0.0
    for before, event in pairwise(event for event in events if event["event"] in {"stepped", "judged"}):
        judging += event["at"] - before["at"] if event["event"] == "judged" else 0.0
    return float(phases["train"] + phases.get("cache", 0.0) - judging)


def last_json(text: str) -> Json:
    r"""The last line of `text` that is a JSON object.

    >>> last_json('loading ...\n{"accuracy": 0.5}\n')
    {'accuracy': 0.5}
    """
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    raise RunFailedError(f"no line with a JSON object in {text[-500:]!r}")


def measure(command: Command) -> Run:
    """Run a program once, from start to end, in an empty folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder, tempfile.TemporaryFile("w+") as said:
        out = Path(folder)
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command.argv(out)), stdout=said, stderr=subprocess.STDOUT, env=environment(out), cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
        if process.returncode:
            raise RunFailedError(f"{command.name} ended with {process.returncode}:\n{text[-3000:]}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, command.result(text, out))


def environment(out: Path) -> dict[str, str]:
    """No network, and an empty feature cache of the run's own."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "UKULELE_CACHE": str(out / "cache")}


def alternate(commands: Sequence[Command], rounds: int) -> list[list[Run]]:
    """Run all commands once a round, the order turned round every other time; one list of runs a command."""
    runs: list[list[Run]] = [[] for _ in commands]
    for number in range(rounds):
        order = range(len(commands)) if number % 2 == 0 else reversed(range(len(commands)))
        for index in order:
            run = measure(commands[index])
            runs[index].append(run)
            note(f"round {number + 1}/{rounds}  {commands[index].name}: {run.wall:.1f} s, {run.result}")
    return runs


def spread(values: Sequence[float]) -> float:
    """(max - min) / median; 0 where all are 0."""
    return (max(values) - min(values)) / (statistics.median(values) or 1.0)


def figures(values: Sequence[float]) -> Json:
    """Median, extremes and spread.

    >>> figures([1.0, 2.0, 4.0])
    {'median': 2.0, 'min': 1.0, 'max': 4.0, 'spread': 1.5}
    """
    low, high = min(values), max(values)
    shown = {"median": statistics.median(values), "min": low, "max": high, "spread": spread(values)}
    return {name: round(value, 4) for name, value in shown.items()}


def summary(commands: Sequence[Command], runs: Sequence[Sequence[Run]]) -> Json:
    """Figures of every command and, for every peer, its seconds over ours, paired by round."""
    table = {
        command.name: {
            "wall_seconds": figures([run.wall for run in taken]),
            "cpu_seconds": figures([run.cpu for run in taken]),
            "peak_memory_bytes": max(run.memory for run in taken),
            **{name: figures([run.result[name] for run in taken]) for name in QUALITY if name in taken[0].result},
            "results": [run.result for run in taken],
        }
        for command, taken in zip(commands, runs, strict=True)
    }
    by_name = {command.name: taken for command, taken in zip(commands, runs, strict=True)}
    ratios = {
        command.name: {
            "wall": figures([peer.wall / own.wall for peer, own in zip(taken, mine, strict=True)]),
            "cpu": figures([peer.cpu / own.cpu for peer, own in zip(taken, mine, strict=True)]),
        }
        for command, taken in zip(commands, runs, strict=True)
        if (mine := by_name.get(command.against)) and command.against != command.name
    }
    return {"commands": table, "peer_over_ours": ratios}


def compare(commands: Sequence[Command], rounds: int) -> Json:
    """Alternate the commands, once more while the spread is too wide, and keep the calmest set of rounds."""
    sets = []
    for _ in range(1 + (REPEATS if rounds > 1 else 0)):
        runs = alternate(commands, rounds)
        widest = max(spread([run.wall for run in taken]) for taken in runs)
        sets.append((widest, runs))
        if widest <= SPREAD:
            break
        note(f"spread {widest:.0%} is above {SPREAD:.0%}")
    widest, runs = min(sets, key=lambda pair: pair[0])
    return {
        "rounds": rounds,
        "spreads_of_all_sets": [round(value, 4) for value, _ in sets],
        "calm": widest <= SPREAD if rounds > 1 else None,
        **summary(commands, runs),
    }


def machine() -> Json:
    """Processor, cores, load and versions: what a figure is worth nothing without."""
    names = [line.split(":", 1)[1].strip() for line in cpuinfo() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in LIBRARIES if (found := installed(name))},
    }


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def arguments(description: str | None, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=HERE.parents[1] / "shared", help="folder of data and weights")
    parser.add_argument("--rounds", type=int, default=rounds, help="alternating rounds (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--final", action="store_true", help="open the test split; else a rehearsal on training data")
    parser.add_argument("--peers-only", action="store_true", help="leave Ukulele out")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these commands alone")
    return parser


def run(
    description: str | None, data: Callable[[argparse.Namespace, Path], Path], commands: Callable[..., list[Command]]
) -> None:
    """The whole of a script: stage the data, run the commands beside each other, print the JSON.

    `data(arguments, folder)` puts the splits into a folder and names it; `commands(arguments, data)` names the
    programs that read it.
    """
    options = arguments(description).parse_args()
    with staging() as folder:
        staged = data(options, folder)
        chosen = [
            command
            for command in commands(options, staged)
            if not (options.peers_only and command.name == OURS) and command.name in (options.only or [command.name])
        ]
        found = compare(chosen, 1 if options.quick else options.rounds)
    report(sys.argv[0], options, found)


def report(script: str, options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Print the summary as JSON, headed by what was run and where."""
    head = {"benchmark": Path(script).stem, "split": "test" if options.final else "rehearsal", "machine": machine()}
    print(json.dumps({**head, **found}, indent=2))


@contextmanager
def staging() -> Iterator[Path]:
    """A folder for staged data that lives as long as the benchmark."""
    with tempfile.TemporaryDirectory(prefix="uke-bench-data-") as folder:
        yield Path(folder)


def note(text: str) -> None:
    """Say something to the person who waits, beside the JSON."""
    print(text, file=sys.stderr, flush=True)
