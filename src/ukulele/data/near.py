"""Rows that are nearly the same, so that a split can keep them on one side. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from ukulele.data.arrays import strings
from ukulele.data.frame import Frame, Indices

HASHES, BANDS = 32, 8
SHINGLE = 5  # bytes
ALIKE = 0.85  # share of MinHash values that agree: an estimate of the Jaccard similarity of the shingles
BITS = 6  # of 128 in which the difference hashes of one picture may differ
CHUNK = 4096
ROOM = 1 << 22  # bytes of texts at a time: minhash takes some thirty times as many
NEIGHBOURS = 4  # rows of a bucket are compared with the next few
Prints = NDArray[np.uint64]

_LETTERS = np.array([ord(chr(b).lower()) if chr(b).isalnum() or b > 127 else 32 for b in range(256)], np.uint8)
_LETTERS[128:] = np.arange(128, 256)  # bytes of characters beyond ASCII stand for themselves


def fingerprints(frame: Frame, columns: Sequence[str]) -> Prints:
    """A 64-bit hash of the inputs of every row, letter by letter."""
    prints = np.empty(len(frame), np.uint64)
    for start, cells in frame.blocks(columns):
        joined = ("\x1f".join(str(cell or "") for cell in row) for row in zip(*cells, strict=True))
        values = [xxhash.xxh3_64_intdigest(text.encode()) for text in joined]
        prints[start : start + len(values)] = values
    return prints


def near_texts(frame: Frame, columns: Sequence[str], rows: Indices, head: int | None = None) -> Indices:
    """A group number for each of `rows`; texts that are nearly the same share one, by their first `head` letters.

    Same text but for case and punctuation, or an estimated Jaccard similarity of 5-byte shingles of at
    least 0.85 by MinHash with banding. After A. Broder, "On the resemblance and containment of
    documents" (1997).
    """
    signatures = np.empty((len(rows), HASHES), np.uint32)
    start = 0
    for some in frame.stretches(columns, rows, CHUNK, ROOM):
        cells = [pc.utf8_slice_codeunits(frame.gather(name, some), 0, head) for name in columns]
        signatures[start : start + len(some)] = minhash(cells[0] if len(cells) == 1 else pair(*cells))
        start += len(some)
    bands = np.ascontiguousarray(signatures).view(np.uint64).reshape(len(rows), BANDS, -1)
    keys = bands[:, :, 0] * np.uint64(0x9E3779B97F4A7C15) ^ bands[:, :, 1]
    whole = np.bitwise_xor.reduce(keys * np.arange(1, 2 * BANDS, 2, dtype=np.uint64), axis=1)
    pairs = list(_bucketed(whole, whole))
    for band in range(BANDS):
        for left, right in _bucketed(keys[:, band], whole):
            alike = (signatures[left] == signatures[right]).mean(axis=1) >= ALIKE
            pairs.append((left[alike], right[alike]))
    return _components(pairs, len(rows))


def pair(first: pa.Array, second: pa.Array) -> pa.Array:
    """Two texts as one."""
    return pc.binary_join_element_wise(first, second, strings([" | "])[0])


def minhash(texts: pa.Array) -> NDArray[np.uint32]:
    """MinHash signatures, (texts, 32): equal values are as frequent as shared shingles.

    Case, punctuation and the width of spaces do not count.

    >>> one, two = minhash(pa.array(["Good,  GOOD film!", "good good film"]))
    >>> bool((one == two).all())
    True
    """
    data, lengths = _letters(texts)
    counts = np.maximum(lengths - SHINGLE - 1, 1)  # shingles that start at a letter
    starts = np.cumsum(lengths) - lengths
    everything = np.concatenate([data, np.zeros(SHINGLE, np.uint8)]).astype(np.uint64)
    packed = np.zeros(len(data) + 1, np.uint64)
    for shift in range(SHINGLE):
        packed = packed << np.uint64(8) | everything[shift : shift + len(packed)]
    offsets = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) + np.repeat(starts - offsets, counts)
    mixed = ((packed[places] * np.uint64(0xFF51AFD7ED558CCD)) >> np.uint64(32)).astype(np.uint32)
    value = np.empty_like(mixed)
    factors = np.random.default_rng(0).integers(1, 2**32, (HASHES, 2), dtype=np.uint32) | np.uint32(1)
    signature = np.empty((len(texts), HASHES), np.uint32)
    for at, (factor, offset) in enumerate(factors):
        np.bitwise_xor(mixed, offset, out=value)
        np.multiply(value, factor, out=value)
        signature[:, at] = np.minimum.reduceat(value, offsets)
    return signature


def _letters(texts: pa.Array) -> tuple[NDArray[np.uint8], Indices]:
    """All texts as one run of lower-case bytes, a space between words and several behind each text; their lengths."""
    ended = pc.binary_join_element_wise(pc.utf8_lower(texts), *strings([" " * SHINGLE, " "]))
    ends = np.frombuffer(ended.buffers()[1], np.int32, len(ended) + 1).astype(np.int64)
    data = _LETTERS[np.frombuffer(ended.buffers()[2] or b"", np.uint8)[: ends[-1]]]
    space = data == 32
    kept = np.ones(len(data), bool)
    kept[1:] = ~(space[1:] & space[:-1])
    kept[:1] = ~space[:1]
    kept[(ends[1:, None] - np.arange(1, SHINGLE + 1)).ravel()] = True
    sums = np.concatenate([[0], np.cumsum(kept)])[ends]
    return data[kept], np.diff(sums)


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
    ordered = np.sort(keys)
    rows = np.flatnonzero(np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]]))
    rows = rows[np.lexsort((order[rows], keys[rows]))]
    for step in range(1, NEIGHBOURS + 1):
        left, right = rows[:-step], rows[step:]
        equal = keys[left] == keys[right]
        yield left[equal], right[equal]


def _components(pairs: Sequence[tuple[Indices, Indices]], size: int) -> Indices:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    right = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
