"""Average precision from rows of matches, against pycocotools."""

import io
import tracemalloc
from contextlib import redirect_stdout

import numpy as np
import pytest

from ukulele import diagnose
from ukulele.errors import DataError, ModelError, PlanError
from ukulele.evaluate import compare, estimates
from ukulele.tasks import Detect, dump, load
from ukulele.tasks.averaged import areas
from ukulele.tasks.found import Doubt
from ukulele.tasks.matching import AREAS, Ranked, rows
from ukulele.types import Box

LABELS = ("a", "b", "c")


def images(seed, count=25, crowds=False):
    """Random boxes of three sizes and detections near some of them."""
    random = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(count):
        boxes, lines = [], []
        for _ in range(random.integers(0, 6)):
            side = random.choice([14.0, 60.0, 150.0])
            left, top = random.uniform(0, 200, 2)
            wide, high = side * random.uniform(0.7, 1.3, 2)
            label = int(random.integers(0, 3))
            crowd = bool(crowds and random.random() < 0.2)
            outline = wide * high * random.uniform(0.4, 1) if random.random() < 0.5 else None
            boxes.append(Box(LABELS[label], left, top, left + wide, top + high, crowd, area=outline))
            for _ in range(random.integers(0, 4)):
                corners = np.array([left, top, left + wide, top + high]) + random.normal(0, 0.08 * side, 4)
                corners[2:] = np.maximum(corners[2:], corners[:2] + 1)
                other = label if random.random() < 0.8 else int(random.integers(0, 3))
                lines.append([*corners, random.choice([0.1, 0.3, 0.5, random.random()]), other])
        for _ in range(random.integers(0, 5)):
            left, top = random.uniform(0, 200, 2)
            lines.append([left, top, left + 40, top + 50, random.random(), random.integers(0, 3)])
        truth.append(tuple(boxes))
        found.append(np.array(lines, np.float64).reshape(-1, 6))
    return found, truth


def coco(found, truth):
    """(map50_95, map50, map75, small, medium, large) of pycocotools."""
    tools = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    from pycocotools.cocoeval import COCOeval

    notes, lines = [], []
    for at, (boxes, detected) in enumerate(zip(truth, found, strict=True), 1):
        for box in boxes:
            wide, high = box.right - box.left, box.bottom - box.top
            note = {"id": len(notes) + 1, "image_id": at, "category_id": LABELS.index(box.label) + 1}
            notes.append(note | {"bbox": [box.left, box.top, wide, high], "area": box.size, "iscrowd": int(box.crowd)})
        for left, top, right, bottom, score, label in detected.tolist():
            line = {"image_id": at, "category_id": int(label) + 1, "score": score}
            lines.append(line | {"bbox": [left, top, right - left, bottom - top]})
    with redirect_stdout(io.StringIO()):
        api = tools.COCO()
        api.dataset = {
            "images": [{"id": at} for at in range(1, len(truth) + 1)],
            "annotations": notes,
            "categories": [{"id": i, "name": name} for i, name in enumerate(LABELS, 1)],
        }
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(lines), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6].tolist()


def ours(found, truth, counts=None):
    task = Detect("objects", LABELS)
    table = task.table(found, truth)
    counts = np.ones(len(table)) if counts is None else counts
    first = [metric.value(table, counts) for metric in task.metrics[:3]]
    ranked = Ranked(table, len(LABELS))
    return first + [float(np.nanmean(ranked.precision(counts, area).mean(2))) for area in range(1, len(AREAS))]


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_figures_are_those_of_pycocotools(seed, crowds):
    found, truth = images(seed, crowds=crowds)
    assert ours(found, truth) == pytest.approx(coco(found, truth), abs=1e-9)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_resample_counts_as_its_rows_repeated(seed):
    found, truth = images(seed)
    for lines in found:  # COCO's order of equal scores is that of the images, and another when they are repeated
        lines[:, 4] += np.random.default_rng(len(lines)).uniform(0, 1e-6, len(lines))
    counts = np.random.default_rng(seed).integers(0, 4, len(found))
    repeated = np.repeat(np.arange(len(found)), counts)
    theirs = coco([found[i] for i in repeated], [truth[i] for i in repeated])
    assert ours(found, truth, counts.astype(float)) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", [6, 7])
def test_many_draws_at_once_are_the_same_as_one_by_one(seed, crowds):
    """Also draws in which no box, or none of a class, is there, and of pictures that have no true answer."""
    found, truth = images(seed, crowds=crowds)
    task = Detect("objects", LABELS)
    table = task.table([*found, found[0]], [*truth, None])
    counts = np.random.default_rng(seed).integers(0, 3, (40, len(table))).astype(float)
    counts[0] = 0
    counts[1:4] *= np.arange(len(table)) == np.array([[1], [2], [3]])
    known = Ranked(table[:-1], len(LABELS))
    curves = np.stack([known.precision(drawn[:-1]).mean(2) for drawn in counts])
    assert np.isnan(curves).any()
    assert (~np.isnan(curves)).any()
    for metric, thresholds in zip(task.metrics[:3], (slice(None), slice(0, 1), slice(5, 6)), strict=True):
        values = [np.nanmean(one[:, thresholds]) if not np.isnan(one).all() else np.nan for one in curves]
        np.testing.assert_allclose(metric.many(table, counts), values, rtol=1e-12, atol=1e-12, err_msg=metric.name)
    for metric in task.metrics:
        one = [metric.value(table, drawn) for drawn in counts]
        np.testing.assert_allclose(metric.many(table, counts), one, rtol=1e-12, atol=1e-12, err_msg=metric.name)


def test_more_than_a_hundred_detections_are_too_many():
    random = np.random.default_rng(0)
    lines = np.array([[0, 0, 10 + v, 10, v, 0] for v in random.random(150)])
    truth = [(Box("a", 0, 0, 10.02, 10),)]
    assert ours([lines], truth)[:3] == pytest.approx(coco([lines], truth)[:3], abs=1e-9)


def test_intervals_and_verdicts_over_images():
    found, truth = images(5, count=60)
    task = Detect("objects", LABELS)
    worse = [lines[lines[:, 4] > 0.45] for lines in found]
    good, bad = task.table(found, truth), task.table(worse, truth)
    made = estimates(task, good)
    assert list(made) == ["map50_95", "map50", "map75", "precision", "recall", "f1"]
    for estimate in made.values():
        assert estimate.low < estimate.value < estimate.high
    assert compare(task.metrics[1], good, bad, "worse").outcome == "helped"
    assert compare(task.metrics[1], bad, good, "better").outcome == "hurt"
    assert compare(task.metrics[0], good, good, "itself").difference.value == 0


def test_pictures_without_boxes_count_their_false_alarms():
    task = Detect("objects", LABELS)
    truth = [(Box("a", 0, 0, 10, 10),), ()]
    hit, alarm = np.array([[0, 0, 10, 10, 0.6, 0]]), np.array([[5, 5, 20, 20, 0.9, 0]])
    none = np.zeros((0, 6))
    ap = task.metrics[0].value
    assert ap(task.table([hit, none], truth), np.ones(2)) == pytest.approx(1)
    assert ap(task.table([hit, alarm], truth), np.ones(2)) == pytest.approx(0.5)
    assert np.isnan(ap(task.table([none], [()]), np.ones(1)))


def test_the_confidence_is_tuned_on_what_is_found():
    task = Detect("objects", LABELS)
    truth = [(Box("a", 0, 0, 10, 10),)] * 3
    found = [np.array([[0, 0, 10, 10, 0.7, 0], [30, 30, 50, 50, 0.3, 0]])] * 3
    tuned = task.tuned(found, truth)
    assert tuned.decoding.confidence == pytest.approx(0.5)
    values = {m.name: m.value(tuned.table(found, truth), np.ones(3)) for m in tuned.metrics}
    assert (values["precision"], values["recall"], values["f1"]) == (1, 1, 1)
    assert task.tuned([np.zeros((0, 6))] * 3, truth).decoding.confidence == 0.25
    assert [box["score"] for box in tuned.plain(found)[0]["boxes"]] == [0.7]


def test_likely_faults_of_the_labels_are_named():
    task = Detect("objects", LABELS)
    boxes = [Box("a", 20 * at, 100, 20 * at + 10, 110) for at in range(5)]
    truth = [(Box("a", 0, 0, 10, 10), Box("b", 50, 50, 90, 90)), (), tuple(boxes)]
    seen = np.array([[*box[1:5], 0.6, 0] for box in boxes])
    found = [
        np.array([[0, 0, 10, 10, 0.9, 0], [50, 50, 91, 90, 0.8, 2], [60, 0, 80, 20, 0.3, 0]]),
        np.array([[5, 5, 30, 30, 0.95, 1]]),
        seen[:4],
    ]
    missing, other, unseen = task.suspects(found, truth, 0.7)[:3]
    assert missing == Doubt(2, 1.0, "a", "", (80.0, 100.0, 90.0, 110.0))
    assert other == Doubt(1, 0.95, "", "b", (5.0, 5.0, 30.0, 30.0))
    assert unseen == Doubt(0, 0.8, "b", "c", (50.0, 50.0, 91.0, 90.0))
    few = task.suspects([*found[:2], seen[:2]], truth, 0.7)  # of this class much is not seen: the model is at fault
    assert [doubt.seen for doubt in few] == ["b", "c"]
    assert task.suspects([np.zeros((0, 6))] * 3, truth, 0.7) == []


def test_the_pictures_with_most_mistakes_come_first():
    task = Detect("objects", LABELS)
    truth = [(Box("a", 0, 0, 10, 10),), (Box("a", 0, 0, 10, 10), Box("b", 20, 20, 40, 40)), ()]
    hit, none = np.array([[0, 0, 10, 10, 0.9, 0]]), np.zeros((0, 6))
    first, second = task.worst([hit, none, hit], truth, 5)
    assert (first["row"], first["missed"], first["wrong"]) == (1, 2, 0)
    assert (second["row"], second["missed"], second["wrong"]) == (2, 0, 1)
    told = task.details(task.table([hit, none, hit], truth))
    assert told["per_class"][0] | {"map50_95": 0, "map50": 0} == {
        "label": "a", "n": 2, "map50_95": 0, "map50": 0, "precision": 0.5, "recall": 0.5, "f1": 0.5
    }  # fmt: skip
    assert told["sizes"][0]["n"] == 3
    assert [curve["label"] for curve in told["curves"]] == ["a", "b"]


def test_draws_of_many_boxes_leave_nothing_in_memory():
    wanted = np.zeros((len(AREAS), 1))
    wanted[0] = 600
    found = np.array([[0.0, 0.9, 1023, 1023, 1023, 1023], [0.0, 0.4, 0, 0, 0, 0]])
    random = np.random.default_rng(0)
    table = rows([(wanted * random.integers(1, 3), found) for _ in range(50)], 1)
    order, counts = Ranked(table, 1), random.integers(0, 3, (100, 50)).astype(float)
    tracemalloc.start()
    areas(order, counts)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1 << 20, "a number for each of 45,000 boxes and each draw is 34 MiB"
    assert peak < 4 << 20


HARD = Box("a", 0, 0, 100, 100, ignored=True)


@pytest.mark.parametrize(
    ("boxes", "lines", "right", "wrong"),
    [
        ([HARD], [(10, 10, 30, 30)], 0, 1),  # inside it, as of a crowd it would vanish
        ([HARD], [(0, 0, 100, 90)], 0, 0),  # on it
        ([HARD], [(0, 0, 100, 90), (0, 0, 100, 80)], 0, 1),  # once
        ([HARD._replace(ignored=False, crowd=True)], [(10, 10, 30, 30), (10, 10, 30, 30)], 0, 0),
        ([HARD, Box("a", 0, 0, 100, 70)], [(0, 0, 100, 95)], 0, 0),  # best on the difficult one
        ([HARD, Box("a", 0, 0, 100, 70)], [(0, 0, 100, 95), (0, 0, 100, 70)], 1, 0),
        ([HARD, Box("a", 0, 0, 100, 70)], [(0, 0, 100, 75)], 1, 0),
    ],
)
def test_difficult_boxes_are_matched_by_plain_overlap_and_count_for_nothing(boxes, lines, right, wrong):
    found = np.array([[*line, 0.9 - 0.1 * at, 0] for at, line in enumerate(lines)], np.float64)
    table = Detect("objects", ("a",)).table([found], [tuple(boxes)])
    ranked = Ranked(table, 1)
    assert [side[:, 0].sum() for side in ranked.sides(0)] == [right, wrong]
    assert ranked.wanted[0, 0, 0] == sum(box.counted for box in boxes)
    (shown,) = Detect("objects", ("a",)).worst([found], [tuple(boxes)], 1) or ({"wrong": 0, "missed": 0, "truth": []},)
    assert shown["wrong"] == wrong
    assert shown["missed"] == sum(not box["right"] for box in shown["truth"])


def test_targets_leave_out_what_does_not_count_and_name_strange_classes():
    task = Detect("objects", LABELS)
    made = task.target((Box("b", 1, 2, 3, 4), Box("a", 0, 0, 9, 9, True), HARD))
    assert made["boxes"].tolist() == [[1, 2, 3, 4]]
    assert made["classes"].tolist() == [1]
    assert task.target(())["boxes"].shape == (0, 4)
    with pytest.raises(DataError, match="'z'"):
        task.target((Box("z", 0, 0, 1, 1),))


def test_a_task_is_plain_data(tiny_classifier):
    task = Detect("objects", LABELS, "map50")
    assert load(dump(task)) == task
    with pytest.raises(PlanError, match="unknown metric"):
        _ = Detect("objects", LABELS, "accuracy").metrics
    with pytest.raises(ModelError, match="no detector"):
        task.head(tiny_classifier)


@pytest.fixture
def tiny_classifier():
    class Named:
        name, heads = "resnet18", {}

    return Named()


def test_a_backbone_that_gains_by_training_is_far():
    found, truth = images(8, count=60)
    task = Detect("objects", LABELS)
    worse = [lines[lines[:, 4] > 0.45] for lines in found]
    good, bad = task.table(found, truth), task.table(worse, truth)
    (far,) = diagnose.backbone(compare(task.metrics[1], good, bad, "finetune"))
    (near,) = diagnose.backbone(compare(task.metrics[1], bad, good, "finetune"))
    assert (far.code, near.code) == ("far-domain", "near-domain")
    assert "brings +0." in far.message
    assert diagnose.backbone(compare(task.metrics[1], good, good, "finetune")) == []
