"""Features and labels in, scores out: how well a model is going to transfer, before anything is trained. No torch."""

from ukulele.rank.fuse import Fused, Scores, fuse
from ukulele.rank.hscore import h_score
from ukulele.rank.knn import KS, neighbours
from ukulele.rank.leep import leep, nce
from ukulele.rank.logme import logme
from ukulele.rank.prior import prior
from ukulele.rank.spectrum import Spectrum, spectrum

__all__ = [
    "KS",
    "Fused",
    "Scores",
    "Spectrum",
    "fuse",
    "h_score",
    "leep",
    "logme",
    "nce",
    "neighbours",
    "prior",
    "spectrum",
]
