"""YOLO: one text file a picture, a line a box (class and centre, width, height as shares of the picture), and
data.yaml or classes.txt with the names of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ukulele.data.boxes.cells import Annotated, Drawn, Read
from ukulele.data.boxes.splits import split_of
from ukulele.errors import DataError
from ukulele.tools.pictures import SUFFIXES, size_of
from ukulele.types import BadRow, Box, Finding, Split, Where

KEYS: Mapping[str, Split] = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
ENDINGS = (".yaml", ".yml")
LISTS = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")

SOME = 50  # label files that a folder is known by
MOST = 10_000  # classes without names: numbers beyond are none of classes


@dataclass(frozen=True)
class Names:
    """The classes by number, and where that is said."""

    by_number: Mapping[int, str]
    file: str

    @property
    def ordered(self) -> tuple[str, ...]:
        """The names in the order of their numbers."""
        return tuple(self.by_number[number] for number in sorted(self.by_number))


def is_data_yaml(path: Path) -> bool:
    """Whether a YAML file names classes and splits as YOLO's do."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    try:
        plain = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError):
        return False
    return isinstance(plain, Mapping) and "tasks" not in plain and bool(plain.keys() & {"names", "nc"} & plain.keys())


def find(root: Path) -> Path | None:
    """The data.yaml of a folder, or the folder itself where it has `labels`."""
    files = [path for path in sorted(root.iterdir()) if is_data_yaml(path)]
    if files:
        return next((path for path in files if path.stem == "data"), files[0])
    return root if _has_labels(root) else None


def is_flat(root: Path) -> bool:
    """Whether label files lie beside the pictures of a folder, as labelImg and darknet have them."""
    texts = [path for path in sorted(root.rglob("*.txt")) if path.name not in LISTS]
    pictures = {path.with_suffix("") for path in _below(root)} if texts else set()
    beside = [path for path in texts if path.with_suffix("") in pictures][:SOME]
    if not beside:
        return False
    lines = [line for path in beside if (line := _first(path)).strip()]
    named = bool(_name_lists(root))
    right = sum(_is_box(line) or (named and _numbers(line) is not None) for line in lines)
    return 2 * right > len(lines) or (named and not lines)


def read(source: Path) -> Read:
    """All pictures that a data.yaml names, or those of a folder with labels in `labels` or beside them.

    Raises
    ------
    DataError
        If it names no classes, or no pictures where it points to.
    """
    notes: list[str] = []
    findings: tuple[Finding, ...] = ()
    names: Names | None
    parts: dict[Split | None, list[Path]]
    flat = source.is_dir() and not _has_labels(source)
    if source.is_dir():
        names, parts = _listed_names(source), {None: _below(source)}
        notes += _left(source) if flat else []
    else:
        plain = yaml.safe_load(source.read_text("utf-8"))
        names, parts = _names(plain, source), _parts(plain, source, notes)
        findings = tuple(_miscounted(plain, names))
    found: list[Annotated] = []
    bad: list[BadRow] = []
    aside: list[BadRow] = []
    without: list[str] = []
    used: set[Path] = set()
    for split, pictures in parts.items():
        for picture in pictures:
            labels = picture.with_suffix(".txt") if flat else label_file(picture)
            used.add(labels)
            size = size_of(picture)
            there = labels.is_file()
            boxes = tuple(_boxes(labels, size, names, aside)) if there and size else ()
            if not there:
                without.append(str(picture))
            part = split or (split_of(picture.relative_to(source).parts[:-1]) if source.is_dir() else None)
            found.append(Annotated(picture, boxes, size, part))
    for folder in sorted({labels.parent for labels in used}):
        if folder.is_dir():
            bad += [
                BadRow(Where(str(path)), "a label file without a picture")
                for path in sorted(folder.glob("*.txt"))
                if path not in used and path.name not in LISTS and not (flat and not _is_box(_first(path)))
            ]
    given = any(one.split for one in found)
    order = names.ordered if names else _numbered(found)
    return Read("YOLO", found, order, tuple(bad), tuple(aside), tuple(notes), tuple(without), given, findings)


def label_file(picture: Path) -> Path:
    """The label file of a picture: in `labels` where the picture is in `images`, else beside it.

    >>> label_file(Path("set/images/train/a.jpg")).as_posix(), label_file(Path("set/a.png")).as_posix()
    ('set/labels/train/a.txt', 'set/a.txt')
    """
    parts = list(picture.parts)
    at = next((i for i in range(len(parts) - 2, -1, -1) if parts[i] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return Path(*parts).with_suffix(".txt")


def _names(plain: Mapping[str, Any], file: Path) -> Names:
    names = plain.get("names")
    if names is None:
        nc = str(plain.get("nc") or 0)
        if not nc.isdecimal() or int(nc) > MOST:
            raise DataError(f"{file}: `nc` is {nc}.", hint=f"Expected `names`, or a number of classes up to {MOST}.")
        names = [f"class {number}" for number in range(int(nc))]
    try:
        listed = dict(enumerate(names)) if isinstance(names, list) else dict(names)
        by_number = {int(number): str(name) for number, name in listed.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: `names` is {names!r}; a list or numbers with names were expected.") from error
    if not by_number:
        raise DataError(f"{file}: `names` is empty.", hint="Expected the names of the classes.")
    return Names(_distinct(by_number, file), str(file))


def _miscounted(plain: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    """`nc` is for other tools: the names count, but one of the two is wrong."""
    nc, count = plain.get("nc"), len(names.by_number)
    if nc is not None and str(nc) not in {str(count), str(max(names.by_number) + 1)}:
        yield Finding(
            "warning",
            "classes-miscounted",
            f"{names.file}: `nc` is {nc}, and `names` has {count}: the {count} names are used.",
            {"nc": nc, "names": count},
            "Mend `nc`, or add the names that are missing: boxes of classes without a name are set aside.",
        )


def _has_labels(root: Path) -> bool:
    return any(path.is_dir() for path in (root / "labels", *root.glob("*/labels")))


def _name_lists(root: Path) -> list[Path]:
    """The files that list the classes: of the folder, or one in each folder below."""
    here = [path for name in LISTS for path in (root / name, root / "labels" / name) if path.is_file()]
    below = ([path for path in sorted(root.glob(f"*/{name}")) if path.is_file()] for name in LISTS)
    return here[:1] or next(filter(None, below), [])


def _listed_names(root: Path) -> Names | None:
    files = _name_lists(root)
    listed = [_names_in(file) for file in files]
    for file, names in zip(files, listed, strict=True):
        if names != listed[0]:
            raise DataError(
                f"{file}: other classes than in {files[0]}.", hint="Expected the same names in the same order."
            )
    return Names(listed[0], str(files[0])) if files and listed[0] else None


def _names_in(file: Path) -> dict[int, str]:
    """A class a line, by number."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}).", hint="Expected UTF-8, a class a line.") from error
    return _distinct({number: line.strip() for number, line in enumerate(lines) if line.strip()}, file)


def _distinct(by_number: dict[int, str], file: Path) -> dict[int, str]:
    if len(set(by_number.values())) < len(by_number):
        raise DataError(f"{file}: two classes have one name.", hint="Give each a name of its own.")
    return by_number


def _left(root: Path) -> list[str]:
    """What is said of darknet's lists of pictures, which are not read."""
    there = [f"{name}.txt" for name in KEYS if (root / f"{name}.txt").is_file()]
    said = f"Not read: {', '.join(there)}. A data.yaml that names the lists makes splits of them, and so do folders."
    return [said] * bool(there)


def _first(file: Path) -> str:
    """The first line of a file, "" where it cannot be read."""
    try:
        with file.open("rb") as content:
            return content.readline(1000).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        return None


def _is_box(line: str) -> bool:
    """Whether a line is a class and four numbers, or a polygon."""
    numbers = _numbers(line) or [math.nan]
    return numbers[0].is_integer() and _shares(numbers[1:]) is not None


def _below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]


def _parts(plain: Mapping[str, Any], file: Path, notes: list[str]) -> dict[Split | None, list[Path]]:
    """Pictures by split; places named for two splits count once and are no splits."""
    places: dict[Split, tuple[str, ...]] = {}
    for key, split in KEYS.items():
        value = plain.get(key)
        if value:
            places[split] = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    if not places:
        raise DataError(f"{file}: no `train` in it.", hint="Expected the folder of the training pictures.")
    pictures = {split: _pictures(values, plain.get("path"), file) for split, values in places.items()}
    known = {split: set(found) for split, found in pictures.items()}
    same = [split for split in known if split != "train" and "train" in known and known[split] == known["train"]]
    apart: dict[Split | None, list[Path]] = {split: found for split, found in pictures.items() if split not in same}
    if same:
        said, rest = " and ".join(["train", *same]), [str(split) for split in apart if split != "train"]
        made = f"they train, and what it names for {' and '.join(rest)} is kept" if rest else "splits are made"
        notes.append(f"{file.name} names the same pictures for {said}: {made}.")
    return apart if len(apart) > 1 or not same else {None: pictures["train"]}


def _pictures(values: Sequence[str], base: Any, file: Path) -> list[Path]:
    found: list[Path] = []
    for value in values:
        place, tried = _place(value, base, file)
        if place is None:
            raise DataError(
                f"{file}: {value!r} is not there.", hint="Looked for " + ", ".join(map(str, tried)) + ". Mend `path`."
            )
        if place.is_dir():
            found += _below(place)
        else:
            lines = [line.strip() for line in place.read_text("utf-8").splitlines() if line.strip()]
            found += [path if (path := Path(line)).is_absolute() else place.parent / path for line in lines]
    if not found:
        raise DataError(f"{file}: no pictures in {', '.join(values)}.")
    return found


def _place(value: str, base: Any, file: Path) -> tuple[Path | None, list[Path]]:
    """Where a value of data.yaml points: below `path`, below the file, or as some tools write it, one folder up."""
    here = file.resolve().parent
    root = here / str(base).strip() if base else here
    inner = Path(*[part for part in Path(value).parts if part != ".."])
    tried = list(dict.fromkeys([root / value, here / value, here / inner, Path.cwd() / value]))
    return next((path for path in tried if path.exists()), None), tried


def _boxes(file: Path, size: tuple[int, int], names: Names | None, aside: list[BadRow]) -> Iterator[Drawn]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        aside.append(BadRow(Where(str(file)), f"cannot be read ({error})"))
        return
    width, height = size
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = Where(str(file), number)
        try:
            kind, *rest = (float(word) for word in line.split())
        except ValueError:
            aside.append(BadRow(where, "numbers were expected: class, centre x and y, width, height", line[:100]))
            continue
        shares = _shares(rest)
        if shares is None or not kind.is_integer() or not all(map(math.isfinite, shares)):
            aside.append(BadRow(where, f"{len(rest)} numbers behind the class; four were expected", line[:100]))
            continue
        label = _label(int(kind), names)
        if label is None:
            wanted = f"where {names.file} names 0 to {max(names.by_number)}" if names else f"expected 0 to {MOST - 1}"
            aside.append(BadRow(where, f"class {int(kind)}, {wanted}", line[:100]))
            continue
        x, y, wide, high = shares
        left, right = round((x - wide / 2) * width, 3), round((x + wide / 2) * width, 3)
        top, bottom = round((y - high / 2) * height, 3), round((y + high / 2) * height, 3)
        yield Drawn(Box(label, left, top, right, bottom), where)


def _label(number: int, names: Names | None) -> str | None:
    if names is not None:
        return names.by_number.get(number)
    return f"class {number}" if 0 <= number < MOST else None


def _numbered(pictures: Sequence[Annotated]) -> tuple[str, ...]:
    """Names of classes that have none, up to the last number that is used: written again, each keeps its own."""
    used = {drawn.box.label for one in pictures for drawn in one.boxes}
    last = max((int(label.removeprefix("class ")) for label in used), default=-1)
    return tuple(f"class {number}" for number in range(last + 1))


def _shares(rest: Sequence[float]) -> tuple[float, float, float, float] | None:
    """Centre and size; of a polygon those of the box around it."""
    if len(rest) == 4:
        return rest[0], rest[1], rest[2], rest[3]
    if len(rest) >= 6 and len(rest) % 2 == 0:
        xs, ys = rest[0::2], rest[1::2]
        return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)
    return None
