"""What the numbers of a run say about the data and the training, as Findings."""

from ukulele.diagnose.overfitting import behind, gap, training
from ukulele.diagnose.reading import box_labels, damaged_cache, lengths

__all__ = ["behind", "box_labels", "damaged_cache", "gap", "lengths", "training"]
