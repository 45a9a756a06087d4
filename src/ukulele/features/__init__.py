"""The content-addressed cache at the cut."""

from ukulele.features.cache import Cache
from ukulele.features.encode import LENGTH, TAP, Computed, Pass, Source, Store, Writer, encode_shard, frozen_pass
from ukulele.features.keys import data_key, draw, model_key, weights_hash

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
    "weights_hash",
]
