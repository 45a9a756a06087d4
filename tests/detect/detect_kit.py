"""Small pictures with bright squares and discs on them, in any of the three formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ukulele.types import Box

COLOURS = {"square": (230, 40, 40), "disc": (40, 60, 230)}


def drawn(number: int, size: tuple[int, int] = (96, 64), labels=("square", "disc")) -> tuple[Image.Image, list[Box]]:
    """A picture and its boxes: one to three objects, never one upon another."""
    random = np.random.default_rng(number)
    width, height = size
    pixels = random.integers(90, 120, (height, width, 3)).astype(np.uint8)
    boxes: list[Box] = []
    for cell in random.permutation(3)[: random.integers(1, 4)]:
        label = str(random.choice(labels))
        side = int(random.integers(16, 26))
        left = int(cell * width // 3 + random.integers(0, width // 3 - side + 1))
        top = int(random.integers(0, height - side + 1))
        y, x = np.mgrid[0:side, 0:side]
        inside = np.ones((side, side), bool)
        if label == "disc":
            inside = (x - side / 2 + 0.5) ** 2 + (y - side / 2 + 0.5) ** 2 <= (side / 2) ** 2
        pixels[top : top + side, left : left + side][inside] = COLOURS[label]
        boxes.append(Box(label, left, top, left + side, top + side))
    return Image.fromarray(pixels), boxes


def write_voc(root: Path, sizes: dict[str, int], first: int = 0, labels=("square", "disc")) -> dict[str, list[Box]]:
    """A VOC folder with so many pictures a split; all boxes by name."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    every: dict[str, list[Box]] = {}
    number = first
    for split, count in sizes.items():
        names = []
        for _ in range(count):
            picture, boxes = drawn(number, labels=labels)
            name = f"p{number:03}"
            picture.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
            (root / "Annotations" / f"{name}.xml").write_text(voc_xml(name, boxes))
            every[name] = boxes
            names.append(name)
            number += 1
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return every


def voc_xml(name: str, boxes: list[Box], size: tuple[int, int] = (96, 64)) -> str:
    """An annotation as VOC has it, an object every nine lines."""
    objects = "".join(
        f"<object>\n<name>{b.label}</name>\n<bndbox>\n<xmin>{b.left}</xmin>\n<ymin>{b.top}</ymin>\n"
        f"<xmax>{b.right}</xmax>\n<ymax>{b.bottom}</ymax>\n</bndbox>\n</object>\n"
        for b in boxes
    )
    return (
        f"<annotation>\n<filename>{name}.jpg</filename>\n"
        f"<size><width>{size[0]}</width><height>{size[1]}</height></size>\n{objects}</annotation>\n"
    )
