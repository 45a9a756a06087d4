"""The run store: manifest, events, checkpoints, results, resume."""

from ukulele.runs.folder import RunFolder, next_folder, read_manifest, read_record

__all__ = ["RunFolder", "next_folder", "read_manifest", "read_record"]
