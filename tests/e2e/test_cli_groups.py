"""`uke fit --group`: what the probe says of itself is what it reaches on groups that it has not seen, and intervals and
verdicts are by group.
"""

from __future__ import annotations

import math
import random

from e2e_kit import record_of, sentence, write_csv

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


def grouped(folder, tested):
    """Shops of 10 reviews each: 20 train, 10 validate and some test. In a third of them most labels are wrong."""
    draw, rows = random.Random(1), []
    for shop in range(30 + tested):
        odd = shop % 3 == 0
        for _ in range(10):
            good = draw.random() < 0.5
            label = good != (draw.random() < (0.6 if odd else 0.05))
            split = "train" if shop < 20 else "val" if shop < 30 else "test"
            marks = ";".join(["good" * label or "bad", *(["loud"] if draw.random() < 0.5 else [])])
            rows.append(
                {
                    "text": f"{sentence(draw, good, 3)} {draw.choice(WORDS)} {draw.choice(WORDS)}",
                    "label": "good" if label else "bad", "tone": marks, "shop": f"shop {shop}", "split": split,
                }
            )  # fmt: skip
    return write_csv(folder / "shops.csv", rows, ("text", "label", "tone", "shop", "split"))


def test_intervals_and_verdicts_are_by_group(uke, bert, tmp_path):
    data, run = grouped(tmp_path, 12), tmp_path / "run"
    asked = ("--target", "label", "--text", "text", "--model", bert, "--strategy", "probe", "--calibrate", 100)
    fit = uke("fit", data, *asked, "--group", "shop", "--slice", "split", "--out", run)
    assert fit.code == 0, fit.flat
    record = record_of(run)
    groups = record["data"]["groups"]
    assert (groups["column"], groups["val"], groups["test"]) == ("shop", 10, 12)
    every = [*record["test"].values(), *record["slices"][0]["test"].values()]
    every += [one["difference"] for one in (record["verdict"], *record["comparisons"])]
    assert {one["groups"] for one in every} == {12}
    assert "over 12 groups of rows, widened by 17 %" in record["test"]["accuracy"]["method"]
    assert record["verdict"]["test"] in {"sign flips of groups", "paired bootstrap over groups"}
    assert record["candidates"][0]["validation"]["accuracy"]["groups"] == 10
    assert record["sets"][0]["inside"] is None
    assert "few-groups" not in {one["code"] for one in record["findings"]}
    page = (run / "report.html").read_text("utf-8")
    assert "its 95 % interval, drawn by &#39;shop&#39;: 12 groups." in page
    assert "not known: rows come in groups" in page
    asked = ("--target", "label", "--text", "text", "--model", bert, "--strategy", "probe", "--controls", "none")
    assert uke("fit", data, *asked, "--out", tmp_path / "rows").code == 0
    rows = record_of(tmp_path / "rows")
    assert "groups" not in rows["data"]
    assert rows["test"]["accuracy"]["groups"] is None
    assert rows["test"]["accuracy"]["method"] == "percentile bootstrap over rows, 1,000 draws, 95 %"
    widths = [one["test"]["accuracy"]["high"] - one["test"]["accuracy"]["low"] for one in (record, rows)]
    assert widths[0] > 1.1 * widths[1]


def test_of_few_groups_nothing_is_claimed_and_that_is_said(uke, bert, tmp_path):
    data, run = grouped(tmp_path, 5), tmp_path / "run"
    asked = ("--target", "label", "--target", "tone", "--text", "text", "--model", bert, "--strategy", "probe")
    fit = uke("fit", data, *asked, "--group", "shop", "--out", run)
    assert fit.code == 0, fit.flat
    assert "The 50 test rows are of 5 groups of column 'shop'" in fit.flat
    record = record_of(run)
    (few,) = [one for one in record["findings"] if one["code"] == "few-groups"]
    assert few["evidence"] == {"column": "shop", "groups": 5, "rows": 50}
    assert {one["outcome"] for one in record["multitask"]["comparisons"]} == {"inconclusive"}
    assert record["multitask"]["delta_m_percent"]["groups"] == 5
    assert record["test"]["tone"]["micro_f1"]["groups"] == 5
    checked = uke("check", data, "--target", "label", "--text", "text", "--group", "shop")
    assert "5 groups of column 'shop'" in checked.flat
