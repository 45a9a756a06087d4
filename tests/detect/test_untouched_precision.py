"""A pre-trained detector that is used as it is answers as precisely as it was published."""

import pytest

from ukulele.trial.predict import load_model

pytest.importorskip("libreyolo.models.yolox.nn", reason="detection needs libreyolo", exc_type=ImportError)


@pytest.mark.parametrize(("asked", "taken"), [("auto", "fp32"), ("bf16", "bf16")])
def test_it_is_narrow_only_where_that_is_asked_for(weights, monkeypatch, asked, taken):
    monkeypatch.setattr("ukulele.trial.predict.choose_precision", lambda *_: "bf16")  # a processor that is fast at it
    assert load_model(weights, asked).about["precision"] == taken
