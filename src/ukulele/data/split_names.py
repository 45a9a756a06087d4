"""The split that a file, a folder or a cell names."""

from __future__ import annotations

import re

from ukulele.types import Split

NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation", "validate", "eval", "develop"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout", "heldout"), "test"),
}


def split_name(text: str) -> Split | None:
    """The split that a file, folder or cell names.

    >>> split_name("dev"), split_name("train-00000-of-00002"), split_name("reviews")
    ('validation', 'train', None)
    """
    words = re.split(r"[-_. ]+", text.strip().lower())
    return next((NAMES[word] for word in words if word in NAMES), None)


def first_split(text: str) -> Split | None:
    """The split that the first word of a name is, digits behind it aside.

    >>> first_split("train_images"), first_split("val2017"), first_split("valley"), first_split("old_test")
    ('train', 'validation', None, None)
    """
    word = re.split(r"[-_. ]+", text.strip().lower())[0]
    return NAMES.get(word.rstrip("0123456789"))
