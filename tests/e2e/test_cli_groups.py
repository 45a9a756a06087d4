"""`uke fit --group`: what the probe says of itself is what it reaches on groups that it has not seen."""

from __future__ import annotations

import math
import random

from e2e_kit import record_of, write_csv

import ukulele
from ukulele.tools.probe import LOGISTIC_STRENGTHS

WORDS = [f"w{number}" for number in range(52)]


def test_cross_validation_takes_no_group_apart(encoder_folder, tmp_path):
    """60 shops of 6 reviews: the words tell the shop, and its label is drawn, so that nothing can be learned."""
    draw, rows = random.Random(4), []
    labels = ["good", "bad"] * 30
    draw.shuffle(labels)
    for shop, label in enumerate(labels):
        own = " ".join(draw.sample(WORDS, 6))
        rows += [{"text": f"{own} {word}", "label": label, "shop": f"shop {shop}"} for word in draw.sample(WORDS, 6)]
    data = write_csv(tmp_path / "shops.csv", rows, ("text", "label", "shop"))
    model = str(encoder_folder("bert", hidden_size=96, num_attention_heads=4))
    run = ukulele.fit(
        str(data), model=model, strategy="probe", text="text", target="label", group="shop", metric="log_loss",
        out=tmp_path / "run",
    )  # fmt: skip
    record = record_of(run.path)
    probe = next(one for one in record["candidates"] if one["name"] == "probe")
    assert probe["cross_validation"]["value"] < 0.05 - math.log(2)  # the negative loss; -0.45 if shops are taken apart
    assert record["plan"]["strength"] >= LOGISTIC_STRENGTHS[-3]
    assert record["learning_curve"]["label"]["points"][-1]["value"] > math.log(2) - 0.05
