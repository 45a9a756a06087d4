"""The content-addressed cache at the cut."""

from ukulele.features.cache import Cache
from ukulele.features.encode import LENGTH, TAP, Pass
from ukulele.features.keys import data_key, draw, model_key, weights_hash
from ukulele.features.store import Computed, Source, Store, summaries, told
from ukulele.features.writer import Writer, encode_shard, frozen_pass

__all__ = [
    "LENGTH",
    "TAP",
    "Cache",
    "Computed",
    "Pass",
    "Source",
    "Store",
    "Writer",
    "data_key",
    "draw",
    "encode_shard",
    "frozen_pass",
    "model_key",
    "summaries",
    "told",
    "weights_hash",
]
