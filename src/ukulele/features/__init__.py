"""The content-addressed cache at the cut."""

from ukulele.features.cache import Cache, default_folder
from ukulele.features.encode import TAP, Computed, Pass, Source, Store, frozen_pass
from ukulele.features.keys import draw, model_key, weights_hash

__all__ = ["TAP", "Cache", "Computed", "Pass", "Source", "Store", "default_folder", "draw", "frozen_pass", "model_key", "weights_hash"]
