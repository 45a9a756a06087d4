"""Fine-tuning the last stages: the head from the probe, then the top with falling rates.

LP-FT (Kumar et al., 2022, arXiv:2202.10054); discriminative rates (Howard & Ruder, 2018, arXiv:1801.06146).
"""

from __future__ import annotations

from ukulele.strategies.facts import NECK, TARGET, Facts, Wishes, balanced_batch, falling, frozen_stages, probe_first
from ukulele.types import Group, Phase, Plan

# boxes: on bccd's validation pictures mAP is .54 after four epochs of YOLOX-nano's neck and head in batches of 8 with
# BatchNorm's statistics as they were, .26 in batches of 16 with statistics that follow them
# 22 M parameters: 2e-4 beats 1e-4 by .007 on sst2's dev split
RATE = {"text": 2e-4, "pair": 2e-4, "image": 3e-4, "boxes": 1e-3, "writing": 3e-4}
AVERAGE = 0.9998  # YOLOX's; over fewer than 50,000 steps it is lower, see Average
LARGE, LARGE_RATE = 60_000_000, 2e-5  # text encoders of the size of BERT-base want a lower rate
SMALL, SMALL_RATE = 20_000_000, 1e-3  # models that write and are as small go on at the rate they were made at
PICTURES = ("image", "boxes")
VIEWS, MANY = 4, 5000  # views of a picture; from so many pictures on the plain one alone
# of the probe's optimum, what training starts from. Of texts a part: from the whole of it stages above find less. For
# pairs the whole optimum is better by far: r2 .880 and .680 on 400 rows of stsb, accuracy .750 and .692 on 120 of mrpc,
# after 3 epochs of the top block. A number from single texts wants the third: r2 .440 and .475 on 300 rows (of sst2,
# their label and length as one number), up to 8 epochs of the top block; one seed
SHRINK = {"text": 0.3, "pair": 1.0, "image": 1.0, "boxes": 1.0, "writing": 1.0}
# texts of few classes learn more in the stages from a head that answers next to nothing (why: Ren et al., 2023,
# arXiv:2302.05779): accuracy, from a third and from nothing, .735 and .772 on 200 rows of sst2, .798 and .817 on 1,000,
# .709 and .741 on 300 of emotion (means of two seeds), .760 and .757 on 1,500 (one). With the top block alone .719 and
# .739, .792 and .786, .704 and .734, .769 and .766 (one seed), and with 77 classes a third is better by far: .866, a
# tenth .822, nothing .424 on 1,000 rows of banking77; with 10 and 25 they are alike. A hundredth stands for nothing
FEW_CLASSES, NEXT_TO_NOTHING = 10, 0.01
READS = frozenset(
    {"freeze", "epochs", "rate", "batch", "views", "patience", "layer_decay", "balance", "sampling", "private_stages"}
    | {"group", "soup", "wise_ft"}
)  # options, besides those of every run
LAYER_DECAY = {"text": 0.95, "pair": 0.95, "image": 0.8, "boxes": 0.8, "writing": 1.0}


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """Two phases: the probe, then head and top stages by AdamW with warm-up, decay and early stopping."""
    part = next((stage for stage in (NECK, TARGET) if stage in facts.stages), None)  # else the middle
    half = len(facts.stages) // 2 if part is None else facts.stages.index(part)
    frozen = frozen_stages(facts, wishes.freeze, default=half)
    return Plan(
        "finetune",
        (*probe_first(facts, shrink(facts)), tuning(facts, wishes, frozen)),
        views=views_of(facts, wishes),
        seed=wishes.seed,
    )


def shrink(facts: Facts) -> float:
    """What the probe's optimum is multiplied by, where stages are trained next.

    >>> from dataclasses import replace
    >>> text = Facts("text", 900, ("embed", "pool"), frozenset({"pool"}), 800, classes=2)
    >>> shrink(text), shrink(replace(text, classes=77)), shrink(replace(text, modality="pair"))
    (0.01, 0.3, 1.0)
    """
    return NEXT_TO_NOTHING if facts.modality == "text" and 0 < facts.classes < FEW_CLASSES else SHRINK[facts.modality]


def views_of(facts: Facts, wishes: Wishes) -> int:
    """Augmented views that are cached: few pictures need them, many need none."""
    if wishes.views is not None:
        return wishes.views
    return VIEWS if facts.modality in PICTURES and facts.rows < MANY else 1


def tuning(facts: Facts, wishes: Wishes, frozen: int) -> Phase:
    """The phase that trains the stages above `frozen`, starting from the head that is there."""
    large = facts.modality not in PICTURES and facts.parameters > LARGE
    small = facts.modality == "writing" and facts.parameters < SMALL
    rate = wishes.rate or (LARGE_RATE if large else SMALL_RATE if small else RATE[facts.modality]) * facts.pace
    stages = falling(facts, frozen, rate, wishes.layer_decay or LAYER_DECAY[facts.modality])
    epochs = wishes.epochs or epochs_of(facts)
    boxes = facts.modality == "boxes"
    return Phase(
        groups=(Group("head.*", rate), *stages),
        optimiser="adamw",
        epochs=epochs,
        batch=wishes.batch or (8 if boxes and facts.rows < MANY else balanced_batch(facts)),
        decay=0.01,
        schedule="cosine" if boxes else "linear",
        clip=10.0 if boxes else 1.0,
        patience=wishes.patience or (5 if boxes else 3),
        average=AVERAGE if boxes else None,
        plain=epochs // 10 if boxes else 0,
    )


def epochs_of(facts: Facts) -> int:
    """Passes over the rows that suit their number."""
    if facts.windows:  # a window has the tokens of some sixteen sentences
        return 6 if facts.rows < 3000 else 3 if facts.rows < 20_000 else 1
    if facts.modality == "writing":
        return 20 if facts.rows < 10_000 else 10 if facts.rows < 100_000 else 3
    if facts.modality == "boxes":
        return 20 if facts.rows < 1000 else 15 if facts.rows < 5000 else 10
    return 20 if facts.rows < 1000 else 10 if facts.rows < 5000 else 5
