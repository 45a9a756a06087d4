"""What the numbers of a run say about the data and the training, as Findings."""

from ukulele.diagnose.budget import beyond_budget
from ukulele.diagnose.copies import bare, copies, likeness, nearest_rows
from ukulele.diagnose.distance import cka, covariance_cka, frechet, mmd, proxy_a
from ukulele.diagnose.domain import (
    apart,
    apart_in_words,
    backbone,
    cannot_tell,
    far_domain,
    from_source,
    nothing_learnt,
    source_in_words,
)
from ukulele.diagnose.label_errors import Suspect, doubted_classes, doubted_numbers, doubted_sets, far_off, label_errors
from ukulele.diagnose.next_labels import next_labels, unsure_of_class, unsure_of_labels
from ukulele.diagnose.overfitting import behind, forgetting, gap, lost, training, untouched
from ukulele.diagnose.reading import box_labels, damaged_cache, frozen_tokens, lengths, slices_left_out, unknown_words

__all__ = [
    "Suspect",
    "apart",
    "apart_in_words",
    "backbone",
    "bare",
    "behind",
    "beyond_budget",
    "box_labels",
    "cannot_tell",
    "cka",
    "copies",
    "covariance_cka",
    "damaged_cache",
    "doubted_classes",
    "doubted_numbers",
    "doubted_sets",
    "far_domain",
    "far_off",
    "forgetting",
    "frechet",
    "from_source",
    "frozen_tokens",
    "gap",
    "label_errors",
    "lengths",
    "likeness",
    "lost",
    "mmd",
    "nearest_rows",
    "next_labels",
    "nothing_learnt",
    "proxy_a",
    "slices_left_out",
    "source_in_words",
    "training",
    "unknown_words",
    "unsure_of_class",
    "unsure_of_labels",
    "untouched",
]
