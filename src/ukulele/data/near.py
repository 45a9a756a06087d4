"""Rows that are nearly the same, so that a split can keep them on one side. NumPy only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ukulele.data.frame import Frame, Indices

HASHES, BANDS = 32, 8
SHINGLE = 5  # bytes
ALIKE = 0.85  # share of MinHash values that agree: an estimate of the Jaccard similarity of the shingles
BITS = 6  # of 128 in which the difference hashes of one picture may differ
NEIGHBOURS = 4  # rows of a bucket are compared with the next few
Prints = NDArray[np.uint64]

_WORDS = re.compile(r"\W+")


def normal(text: str) -> str:
    """A text without case, punctuation and spacing.

    >>> normal("Good,  GOOD film!")
    'good good film'
    """
    return _WORDS.sub(" ", text.casefold()).strip()


def fingerprints(frame: Frame, columns: Sequence[str]) -> Prints:
    """A 64-bit hash of the inputs of every row, letter by letter."""
    prints = np.empty(len(frame), np.uint64)
    for start, cells in frame.blocks(columns):
        joined = ("\x1f".join(str(cell or "") for cell in row) for row in zip(*cells, strict=True))
        values = [xxhash.xxh3_64_intdigest(text.encode()) for text in joined]
        prints[start : start + len(values)] = values
    return prints


def near_texts(frame: Frame, columns: Sequence[str], rows: Indices) -> Indices:
    """A group number for each of `rows`; texts that are nearly the same share one.

    Same text but for case and punctuation, or an estimated Jaccard similarity of 5-byte shingles of at
    least 0.85 by MinHash with banding. After A. Broder, "On the resemblance and containment of
    documents" (1997).
    """
    exact = np.empty(len(rows), np.uint64)
    signatures = np.empty((len(rows), HASHES), np.uint32)
    for start in range(0, len(rows), 4096):
        cells = frame.take(columns, rows[start : start + 4096])
        texts = [" | ".join(normal(cell or "") for cell in row) for row in zip(*cells, strict=True)]
        exact[start : start + len(texts)] = [xxhash.xxh3_64_intdigest(text.encode()) for text in texts]
        signatures[start : start + len(texts)] = minhash(texts)
    width = HASHES // BANDS
    pairs = list(_bucketed(exact, exact))
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width]).view(np.uint64)
        keys = part[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ part[:, 1]
        for left, right in _bucketed(keys, exact):
            alike = (signatures[left] == signatures[right]).mean(axis=1) >= ALIKE
            pairs.append((left[alike], right[alike]))
    return _components(pairs, len(rows))


def minhash(texts: Sequence[str]) -> NDArray[np.uint32]:
    """MinHash signatures, (texts, 32): equal values are as frequent as shared shingles."""
    data = [text.encode().ljust(SHINGLE) for text in texts]
    lengths = np.array([len(text) - SHINGLE + 1 for text in data])
    everything = np.frombuffer(b"".join(data) + b" " * SHINGLE, np.uint8).astype(np.uint64)
    size = len(everything) - SHINGLE
    packed = np.zeros(size, np.uint64)
    for shift in range(SHINGLE):
        packed = packed << np.uint64(8) | everything[shift : shift + size]
    starts = np.concatenate([[0], np.cumsum(lengths + SHINGLE - 1)[:-1]])
    inside = np.zeros(size + 1, np.int32)  # shingles across the border of two texts do not count
    np.add.at(inside, starts, 1)
    np.add.at(inside, starts + lengths, -1)
    kept = packed[np.cumsum(inside[:-1]) > 0]
    mixed = ((kept * np.uint64(0xFF51AFD7ED558CCD)) >> np.uint64(32)).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    factors = np.random.default_rng(0).integers(1, 2**32, (HASHES, 2), dtype=np.uint32) | np.uint32(1)
    signature = np.empty((len(texts), HASHES), np.uint32)
    for at, (factor, offset) in enumerate(factors):
        value = (mixed ^ offset) * factor
        value = (value ^ value >> np.uint32(15)) * np.uint32(0x85EBCA6B)
        signature[:, at] = np.minimum.reduceat(value, offsets)
    return signature


def near_pictures(content: Prints, difference: NDArray[np.uint64]) -> Indices:
    """A group number for each picture; equal files and pictures that look the same share one.

    `content` are hashes of the files, `difference` the two halves of the difference hash, (pictures, 2).
    Pictures without structure, whose difference hash says nothing, are compared by file alone.
    """
    pairs = list(_bucketed(content, content))
    bits = np.bitwise_count(difference).sum(axis=1)
    told = np.flatnonzero((bits >= 8) & (bits <= 120))
    halves = np.ascontiguousarray(difference[told]).view(np.uint16)
    for band in range(halves.shape[1] if len(told) else 0):
        for left, right in _bucketed(halves[:, band].astype(np.uint64), difference[told, 0]):
            a, b = told[left], told[right]
            close = np.bitwise_count(difference[a] ^ difference[b]).sum(axis=1) <= BITS
            pairs.append((a[close], b[close]))
    return _components(pairs, len(content))


def merged(first: Indices, second: Indices) -> Indices:
    """Groups that hold together whatever either grouping holds together."""
    pairs = [*_bucketed(first.astype(np.uint64), first), *_bucketed(second.astype(np.uint64), second)]
    return _components(pairs, len(first))


def _bucketed(keys: Prints, order: NDArray[np.uint64] | Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows with equal keys, each with its next neighbours in `order`."""
    rows = np.lexsort((order, keys))
    for step in range(1, NEIGHBOURS + 1):
        left, right = rows[:-step], rows[step:]
        equal = keys[left] == keys[right]
        yield left[equal], right[equal]


def _components(pairs: Sequence[tuple[Indices, Indices]], size: int) -> Indices:
    left = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    right = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
