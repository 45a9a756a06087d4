"""Four tweet tasks on MiniLM: one model for all of them against four models of HF Trainer, same blocks frozen.

Goal: one `uke fit` of all four takes at most .45 times as long as the four peers, at their best settings, one after
the other. With `--probe`: four probes at once against one probe on as many rows; at most 1.15 times as long.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import harness
import tweets

# The embeddings are a stage of their own: five stages frozen leave the top two blocks. Both sides run all epochs.
UKE = (
    "--model minilm --strategy finetune --freeze 5 --epochs 4 --patience 99 --rate 1e-4 --batch 32 --layer last "
    "--controls none --seed 0 --precision auto"
)
PEER = "--freeze 4 --epochs 4 --rate 1e-4 --batch 32 --best"
PROBE = "--model minilm --strategy probe --layer last --controls none --seed 0 --precision auto"
FOUR, ONE = "four-trainers", "one-task"
GOALS = {FOUR: 0.45, ONE: 1.15}  # our seconds over theirs
TURNED = {"median": "median", "min": "max", "max": "min"}  # of a ratio turned round


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--probe", action="store_true", help="four probes against one on as many rows")
    options = parser.parse_args()
    with harness.staging() as folder:
        folders = tweets.staged(options.shared, folder, options.final)
        commands = probes(folders, folder) if options.probe else fits(folders)
        chosen = [
            command
            for command in commands
            if not (options.peers_only and command.name == harness.OURS)
            and command.name in (options.only or [command.name])
        ]
        found = harness.compare(chosen, 1 if options.quick else options.rounds)
    harness.report(__file__, options, {**found, "ours_over_peer": ratios(found["peer_over_ours"])})


def fits(folders: Mapping[str, Path]) -> list[harness.Command]:
    """All tasks in one model, and the peer once a task."""
    peers = [harness.peer(task, "hf_trainer.py", folder, *PEER.split()) for task, folder in folders.items()]
    return [tweets.together(folders, UKE.split()), in_turn(FOUR, peers)]


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
