"""Four tweet tasks on MiniLM: one model for all of them against four models of HF Trainer, same blocks frozen.

Goal: one `uke fit` of all four takes at most .45 times as long as the four peers, at their best settings, one after
the other. With `--probe`: four probes at once against one probe on as many rows; at most 1.15 times as long.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import harness
import tweets

# Both sides run all epochs, with batches of 32 rows of a task. The embeddings are a stage of their own, so Ukulele
# freezes a stage more than the peer freezes blocks.
SAME = "--rate 1e-4 --batch 32"
UKE = f"--model minilm --strategy finetune --patience 99 --layer last --controls none --seed 0 --precision auto {SAME}"
PEER = f"--best {SAME}"
BLOCKS = 6  # of MiniLM
PROBE = "--model minilm --strategy probe --layer last --controls none --seed 0 --precision auto"
FOUR, ONE = "four-trainers", "one-task"
GOALS = {FOUR: 0.45, ONE: 1.15}  # our seconds over theirs
TURNED = {"median": "median", "min": "max", "max": "min"}  # of a ratio turned round


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--probe", action="store_true", help="four probes against one on as many rows")
    parser.add_argument("--trained", type=int, default=1, help="blocks that are trained (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="(default %(default)s)")
    parser.add_argument("--rows", type=int, help="training rows a task at most (default: all)")
    options = parser.parse_args()
    with harness.staging() as folder:
        folders = tweets.staged(options.shared, folder, options.final)
        if options.rows:
            folders = tweets.thinned(folders, folder / "thinned", {"train": options.rows})
        commands = probes(folders, folder) if options.probe else fits(folders, options)
        chosen = [
            command
            for command in commands
            if not (options.peers_only and command.name == harness.OURS)
            and command.name in (options.only or [command.name])
        ]
        found = harness.compare(chosen, 1 if options.quick else options.rounds)
    harness.report(__file__, options, {**found, "ours_over_peer": ratios(found["peer_over_ours"])})


def fits(folders: Mapping[str, Path], options: argparse.Namespace) -> list[harness.Command]:
    """All tasks in one model, and the peer once a task."""
    frozen, epochs = BLOCKS - options.trained, ["--epochs", str(options.epochs)]
    theirs = [*PEER.split(), *epochs, "--freeze", str(frozen)]
    peers = [harness.peer(task, "hf_trainer.py", folder, *theirs) for task, folder in folders.items()]
    ours = [*UKE.split(), *epochs, "--freeze", str(frozen + 1)]
    return [tweets.together(folders, ours), in_turn(FOUR, peers)]


def probes(folders: Mapping[str, Path], folder: Path) -> list[harness.Command]:
    """A probe for each task at once, and a single one on the same rows."""
    one = tweets.as_one_task(folders, folder / "one")
    return [tweets.together(folders, PROBE.split()), harness.ours(one, PROBE.split(), ONE)]


def in_turn(name: str, commands: Sequence[harness.Command]) -> harness.Command:
    """Several peers one after the other, timed as one program; its accuracy is their mean."""

    def argv(out: Path) -> list[str]:
        return ["bash", "-c", " && ".join(shlex.join(command.argv(out / command.name)) for command in commands)]

    def result(stdout: str, _: Path) -> harness.Json:
        answers = [json.loads(line) for line in stdout.splitlines() if line.startswith('{"')]
        tasks = {command.name: answer for command, answer in zip(commands, answers, strict=True)}
        return {"accuracy": sum(answer["accuracy"] for answer in answers) / len(answers), "tasks": tasks}

    return harness.Command(name, argv, result)


def ratios(peer_over_ours: harness.Json) -> harness.Json:
    """Our wall seconds over the peer's, and whether the goal is reached."""
    found = {}
    for name, ratio in peer_over_ours.items():
        wall = {kind: round(1 / ratio["wall"][of], 4) for kind, of in TURNED.items()}
        found[name] = {**wall, "goal": GOALS[name], "reached": wall["median"] <= GOALS[name]}
    return found


if __name__ == "__main__":
    main()
