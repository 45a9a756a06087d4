from ukulele.diagnose import gap, training, untouched
from ukulele.types import Estimate, Verdict


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.03, value + 0.03, 500, "")


def test_the_gap_is_told_with_the_probe_beside_it_and_the_next_thing_to_try():
    probe = (estimate(0.85), estimate(0.82))
    (worse,) = gap("accuracy", estimate(0.99), estimate(0.8), probe)
    assert "0.850 and 0.820" in worse.message
    assert worse.advice.startswith("Next: take the probe")
    (better,) = gap("accuracy", estimate(0.99), estimate(0.84), probe)
    assert "--freeze" in better.advice
    (alone,) = gap("accuracy", estimate(0.99), estimate(0.8))
    assert "probe" not in alone.message
    assert "uke label-next" in alone.advice
    assert gap("accuracy", estimate(0.85), estimate(0.82), probe) == []


def test_a_rising_loss_is_told_with_what_the_score_did():
    losses, scores = [0.6, 0.5, 0.55, 0.7, 0.9], [0.7, 0.8, 0.81, 0.8, 0.8]
    history = [
        {"train_loss": 0.6 - 0.1 * at, "validation_loss": loss, "score": score}
        for at, (loss, score) in enumerate(zip(losses, scores, strict=True))
    ]
    (found,) = training(history, {"classify"})
    assert "after epoch 2" in found.message
    assert "from 0.800 to 0.800" in found.message
    assert training([{**epoch, "validation_loss": 0.5} for epoch in history], {"classify"}) == []
    for kinds, scaled in (
        ({"classify"}, True),
        ({"multilabel", "regress"}, True),
        ({"regress"}, False),
        ({"detect"}, False),
    ):
        (found,) = training(history, kinds)
        assert found.advice.endswith("has corrected the confidence." if scaled else "cost less."), kinds


def test_what_the_model_was_before_is_told_where_training_was_in_vain():
    def against(outcome, value):
        verdict = Verdict(outcome, "zero-shot", "map50_95", estimate(value))
        return untouched("finetune", verdict, "uke predict nano.safetensors …")

    (worse,) = against("hurt", -0.05)
    assert (worse.severity, worse.code) == ("warning", "worse-than-untouched")
    assert "worse than the untouched model (zero-shot): -0.050 (-0.080 to -0.020) in map50_95" in worse.message
    assert "uke predict nano.safetensors" in worse.advice
    (same,) = against("inconclusive", 0.01)
    assert same.code == "no-better-than-untouched"
    assert "not clearly better" in same.message
    assert against("helped", 0.05) == []
    assert "uke predict" not in untouched("full", Verdict("hurt", "zero-shot", "bleu", estimate(-1)), "")[0].advice
