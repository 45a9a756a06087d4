"""Few labels: the model is taught which texts belong together, then a logistic head stands on what it makes of them.

SetFit (Tunstall et al., 2022, arXiv:2209.11055): a few rows make many pairs. There each step takes pairs and passes
both texts of each; here it takes texts and looks at all pairs among them, so a text is passed once for all its pairs.
Where a step does not hold all classes, most of the others are far already and a mean over pairs tells little: steps are
larger then, and texts of other classes count by how near they are.
"""

from __future__ import annotations

from ukulele.errors import PlanError
from ukulele.strategies.facts import Facts, Wishes, falling, frozen_stages
from ukulele.types import Group, Phase, Plan

READS = frozenset({"freeze", "epochs", "rate", "batch", "layer_decay"})
FEW = 16  # labels a class up to which this is what `auto` tries
EPOCHS = 20  # times that a text is seen, each time among others: SetFit's iterations
BATCH = 8  # texts of a step: two of each of four classes
MANY = 32  # the same where there are more classes
RATE = 2e-5
STRENGTH = 0.1  # of the head's penalty: rows that the model was taught on tell nothing about it


def suits(facts: Facts) -> bool:
    """Whether there is one class a text."""
    return facts.modality == "text" and facts.kinds == ("classify",)


def plan(facts: Facts, wishes: Wishes) -> Plan:
    """Two phases: pairs, then the head.

    Raises
    ------
    PlanError
        If the rows are no texts of one class each.
    """
    if not suits(facts):
        found = "pictures" if facts.modality in {"image", "boxes"} else "pairs" if facts.modality == "pair" else "texts"
        raise PlanError(
            f"--strategy fewshot is for one task of texts with one class each; these are {found}, and what is asked "
            f"is {', '.join(facts.kinds)}.",
            hint="Choose --strategy probe: it does best with few labels."
            if facts.probes
            else "Choose --strategy finetune, or lora.",
        )
    many = facts.rows / facts.each > BATCH / 2
    frozen = min(frozen_stages(facts, wishes.freeze, default=0), len(facts.stages) - 1)
    pairs = Phase(
        groups=falling(facts, frozen, wishes.rate or RATE, wishes.layer_decay or 1.0),
        loss="contrast" if many else "pairs",
        epochs=wishes.epochs or EPOCHS,
        batch=wishes.batch or (MANY if many else BATCH),
        decay=0.01,
    )
    head = Phase((Group("head.*", 1.0),), "probe", strength=STRENGTH)
    return Plan("fewshot", (pairs, head) if pairs.groups else (head,), seed=wishes.seed)
