"""The run store: manifest, events, checkpoints, results, resume."""

from ukulele.runs.folder import NextFolder, RunFolder, read_manifest, read_record

__all__ = ["NextFolder", "RunFolder", "read_manifest", "read_record"]
