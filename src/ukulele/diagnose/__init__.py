"""What the numbers of a run say about the data and the training, as Findings."""

from ukulele.diagnose.distance import cka, covariance_cka, frechet, mmd, proxy_a
from ukulele.diagnose.domain import apart, apart_in_words, cannot_tell, far_domain, nothing_learnt
from ukulele.diagnose.label_errors import Suspect, doubted_classes, doubted_numbers, doubted_sets, label_errors
from ukulele.diagnose.overfitting import behind, gap, training
from ukulele.diagnose.reading import box_labels, damaged_cache, lengths

__all__ = [
    "Suspect",
    "apart",
    "apart_in_words",
    "behind",
    "box_labels",
    "cannot_tell",
    "cka",
    "covariance_cka",
    "damaged_cache",
    "doubted_classes",
    "doubted_numbers",
    "doubted_sets",
    "far_domain",
    "frechet",
    "gap",
    "label_errors",
    "lengths",
    "mmd",
    "nothing_learnt",
    "proxy_a",
    "training",
]
