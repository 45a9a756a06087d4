"""The split that a folder or file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ukulele.types import Split

NAMES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}  # fmt: skip


def split_of(parts: Sequence[str]) -> Split | None:
    """The split that one of several names means, the last one first; years behind it do not count.

    >>> split_of(["images", "train2017"]), split_of(["valid", "images"]), split_of(["labels"])
    ('train', 'validation', None)
    """
    for part in reversed(parts):
        for word in re.split(r"[-_. ]+", part.lower()):
            if found := NAMES.get(re.sub(r"\d{4}$", "", word)):
                return found
    return None
