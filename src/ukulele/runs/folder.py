"""One run's folder: everything that was asked, decided, seen and made.

manifest.json      options, decisions, versions
events.jsonl       what the run did, line by line
checkpoints/       a candidate under way: a state from which it goes on bit-identical
results/           a candidate that is done: its weights and answers
quarantine.csv     rows that were set aside
record.json        the whole run as plain data; report.html is a function of it
bundle/            the model
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ukulele import __version__
from ukulele.errors import RunError
from ukulele.events import Event, Place, Progress, Saved
from ukulele.tools.files import disk_error, load_tree, save_tree, write_json

FORMAT = 1
TRACKED = "ukulele"  # what trackers file a run under; of those that write files a folder in the run's own
BAD = "quarantine.csv"
FIRST = {".lock", "events.jsonl", BAD}  # all there is of a run that ended before it had a manifest, or for its rows


class RunFolder:
    """A run's folder, held by one process at a time."""

    def __init__(self, path: Path, manifest: dict[str, Any], *, writes: bool = True) -> None:
        self.path, self.manifest, self._writes = path, manifest, writes
        self._lock: IO[str] | None = None
        self._events: IO[str] | None = None
        self._began = time.time()
        if writes:
            self._hold()

    @classmethod
    def nowhere(cls) -> RunFolder:
        """A run that leaves nothing on the disk, and finds nothing there."""
        return cls(Path(os.devnull) / "run", {"options": {}, "decisions": {}}, writes=False)

    @classmethod
    def create(cls, path: Path, options: Mapping[str, Any], command: str = "", *, writes: bool = True) -> RunFolder:
        """A new run.

        Raises
        ------
        RunError
            If there is one already.
        """
        if writes and (path / "manifest.json").exists():
            raise RunError(
                f"{path} already holds a run.",
                hint=f"Go on with it (--resume {path}), or choose another folder with --out.",
            )
        if writes and path.exists() and (not path.is_dir() or any(file.name not in FIRST for file in path.iterdir())):
            raise RunError(f"{path} exists and is no empty folder.", hint="Choose another folder with --out.")
        manifest = {
            "format": FORMAT,
            "ukulele": __version__,
            "command": command,
            "options": dict(options),
            "decisions": {},
            "began": time.time(),
            "leg": time.time(),
            "seconds": 0.0,  # of earlier legs
        }
        run = cls(path, manifest, writes=writes)
        try:
            run.save_manifest()
        except BaseException:
            run.discard()
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, path: Path, *, writes: bool = True) -> RunFolder:
        """A run that was begun before.

        Raises
        ------
        RunError
            If there is none, or it is damaged, newer than this version, or under way in another process.
        """
        manifest = read_manifest(path)
        events, began = path / "events.jsonl", float(manifest.get("leg", manifest["began"]))
        last = events.stat().st_mtime if events.exists() else began
        manifest |= {"seconds": float(manifest.get("seconds", 0)) + max(0.0, last - began), "leg": time.time()}
        run = cls(path, manifest, writes=writes)
        run.save_manifest()
        if writes:
            for part in (*path.glob(".*.part"), *path.glob("*/.*.part")):  # of a writer that was killed
                if part.is_file():
                    part.unlink()
        return run

    def _hold(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
            self._events = (self.path / "events.jsonl").open("a", encoding="utf-8")
        except OSError as error:
            raise disk_error(self.path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"{self.path} is in use by another process.", hint="Wait for it, or choose another --out."
            ) from error

    def discard(self) -> None:
        """Remove a run in which nothing was fitted yet, so that its folder can be used again."""
        if not self._writes or any(self.path.glob("*/*.safetensors")):
            return
        for name in ("manifest.json", "events.jsonl", "quarantine.csv", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("checkpoints", "results", TRACKED):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def spent(self) -> float:
        """Seconds that the run took so far; legs that were cut short count up to their last event."""
        return float(self.manifest["seconds"]) + time.time() - self._began

    def close(self) -> None:
        """Let go of the folder."""
        for file in (self._events, self._lock):
            if file is not None:
                file.close()

    def save_manifest(self) -> None:
        """Write the manifest down."""
        if self._writes:
            write_json(self.path / "manifest.json", self.manifest)

    def decide(self, what: str, how: Callable[[], Any]) -> Any:
        """A decision that need not come out the same twice (by a clock, by hardware): made once, then replayed."""
        decisions = self.manifest["decisions"]
        if what not in decisions:
            decisions[what] = how()
            self.save_manifest()
        return decisions[what]

    def log(self, event: Event) -> None:
        """A line in events.jsonl. States and counted rows are not logged."""
        if self._events is None or isinstance(event, Saved | Progress):
            return
        line = {"at": round(time.time(), 3), "event": type(event).__name__.lower(), **asdict(event)}
        try:
            self._events.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._events.flush()
        except OSError as error:
            raise disk_error(self.path / "events.jsonl", error) from error

    def logged(self, *kinds: type[Event]) -> int:
        """How many events of some kinds are in events.jsonl, those before a resume included."""
        marks = tuple(f'"event": "{kind.__name__.lower()}"' for kind in kinds)
        with (self.path / "events.jsonl").open(encoding="utf-8") as lines:
            return sum(any(mark in line for mark in marks) for line in lines)

    # ------------------------------------------------------------ candidates

    def checkpoint(self, candidate: str, saved: Saved, extra: Mapping[str, Any]) -> None:
        """Write down where a candidate stands."""
        if self._writes:
            tree = {"place": asdict(saved.place), "state": saved.state, "extra": extra}
            save_tree(self._file("checkpoints", candidate), tree)

    def latest(self, candidate: str) -> tuple[Saved, dict[str, Any]] | None:
        """Where a candidate stood, if it was begun; a damaged checkpoint is an error that names itself."""
        tree = self._read("checkpoints", candidate)
        if tree is None:
            return None
        return Saved(Place(**tree["place"]), tree["state"]), tree["extra"]

    def save_result(self, candidate: str, tree: Mapping[str, Any]) -> None:
        """Write down what a candidate came to; its checkpoint is no longer needed."""
        if self._writes:
            save_tree(self._file("results", candidate), tree)
            self._file("checkpoints", candidate).unlink(missing_ok=True)

    def result(self, candidate: str) -> dict[str, Any] | None:
        """What a candidate came to, if it is done."""
        return self._read("results", candidate)

    def _file(self, kind: str, candidate: str) -> Path:
        clean = re.sub(r"[^A-Za-z0-9._-]", "_", candidate)
        mark = "" if clean == candidate else f"-{zlib.crc32(candidate.encode()):08x}"  # else two might share a file
        return self.path / kind / f"{clean}{mark}.safetensors"

    def _read(self, kind: str, candidate: str) -> dict[str, Any] | None:
        file = self._file(kind, candidate)
        if not file.exists():
            return None
        try:
            return load_tree(file)
        except (ValueError, OSError) as error:
            raise RunError(
                f"{file} is damaged: {error}", hint=f"Remove it (rm {file}) and resume: that part is done again."
            ) from error


def read_manifest(path: Path) -> dict[str, Any]:
    """What a run was asked to do, and what it decided.

    Raises
    ------
    RunError
        If there is no run, or its manifest is damaged or newer than this version.
    """
    file = path / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if manifest["format"] > FORMAT:
            raise RunError(f"{path} was begun by a newer version of ukulele.", hint="pip install --upgrade ukulele")
        if not isinstance(manifest["options"], dict) or not isinstance(manifest["decisions"], dict):
            raise TypeError("options and decisions were expected")
    except FileNotFoundError as error:
        raise RunError(
            f"{path} holds no run to resume: {file.name} is missing.", hint="Begin a new run: uke fit DATA --out DIR"
        ) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}", hint="Begin a new run.") from error
    return manifest


class NextFolder:
    """runs/NAME-1, or the next number that is free: taken as the run begins, so that no other run takes it, too."""

    def __init__(self, name: str, parent: Path = Path("runs")) -> None:
        self.parent, self.name = parent, re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        self.path: Path | None = None  # none is taken yet

    def take(self) -> Path:
        """The folder, which is there from now on.

        Raises
        ------
        StorageError
            If it cannot be made.
        """
        number = 1
        while not _take(self.parent / f"{self.name}-{number}"):
            number += 1
        self.path = self.parent / f"{self.name}-{number}"
        return self.path


def _take(path: Path) -> bool:
    """Take a folder that is absent, or holds only the list of the rows that a run was refused for."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        try:
            if [file.name for file in path.iterdir()] != [BAD]:
                return False
            (path / ".lock").touch(exist_ok=False)
        except OSError:
            return False
    except OSError as error:
        raise disk_error(path, error) from error
    return True


def read_record(path: Path) -> dict[str, Any]:
    """The record of a finished run.

    Raises
    ------
    RunError
        If there is none, or it is damaged.
    """
    file = path / "record.json"
    try:
        record = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        unfinished = (path / "manifest.json").exists()
        hint = (
            f"Finish it: uke fit DATA --resume {path}"
            if unfinished
            else "Name a run's folder, as `uke fit` printed it."
        )
        raise RunError(f"{path} holds no finished run: record.json is missing.", hint=hint) from error
    except (ValueError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if not isinstance(record, dict) or "format" not in record:
        raise RunError(f"{file} is damaged: it is no record of a run.")
    if record["format"] > FORMAT:
        raise RunError(f"{file} was written by a newer version of ukulele.", hint="pip install --upgrade ukulele")
    return record
