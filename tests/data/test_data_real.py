from pathlib import Path

import pytest

from ukulele.data import ReadOptions, read

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real data is not beside the checkout"),
]


def findings(data):
    return {finding.code for finding in data.findings}


@pytest.mark.parametrize(
    ("name", "modality", "target", "kind", "labels", "rows"),
    [
        ("sst2", "text", "label", "classify", 2, (6920, 872, 1821)),
        ("banking77", "text", "intent", "classify", 77, (None, None, 3080)),
        ("mrpc", "pair", "label", "classify", 2, (None, None, 1725)),
        ("stsb", "pair", "similarity", "regress", 0, (5749, 1500, 1379)),
        ("goemotions", "text", "emotions", "multilabel", 28, (12000, 2000, 2000)),
        ("tweets/irony", "text", "label", "classify", 2, (None, None, None)),
        ("tweets/hate", "text", "label", "classify", 2, (None, None, None)),
        ("tweets/offensive", "text", "label", "classify", 2, (None, None, None)),
        ("tweets/emotion", "text", "label", "classify", 4, (None, None, None)),
        ("hymenoptera", "image", "label", "classify", 2, (None, None, 153)),
        ("flowers5", "image", "label", "classify", 5, (None, None, None)),
    ],
)
def test_real_sets_are_understood_unaided(tmp_path, name, modality, target, kind, labels, rows):
    data = read(SHARED / name, ReadOptions(), tmp_path)
    assert data.modality == modality
    (found,) = data.targets
    assert (found.name, found.kind, len(found.labels)) == (target, kind, labels)
    assert list(data.splits) == ["train", "validation", "test"]
    for split, count in zip(data.splits.values(), rows, strict=True):
        assert len(split) == count or (count is None and len(split) > 10)
    assert not data.quarantine
    assert data.notes


def test_faults_that_are_known(tmp_path):
    flowers = read(SHARED / "flowers5", ReadOptions(), tmp_path)
    assert sum(map(len, flowers.splits.values())) == 4317
    assert {"duplicate-rows", "conflicting-labels"} <= findings(flowers)
    assert "duplicate-across-splits" not in findings(flowers)
    assert "duplicate-across-splits" in findings(read(SHARED / "sst2", ReadOptions(), tmp_path))


def test_the_second_time_nothing_is_parsed(tmp_path, monkeypatch):
    first = read(SHARED / "sst2", ReadOptions(), tmp_path)
    monkeypatch.setattr("ukulele.data.store._write", lambda *_: pytest.fail("the stored table was to be read"))
    again = read(SHARED / "sst2", ReadOptions(), tmp_path)
    assert [len(rows) for rows in again.splits.values()] == [len(rows) for rows in first.splits.values()]
    assert again.splits["test"][7] == first.splits["test"][7]
