"""A made-up record of a run that learnt four tasks; the last one has hardly anything measured."""

KINDS = {
    "emotion": ("classify", ["anger", "joy", "sadness"], "accuracy"),
    "topics": ("multilabel", ["delivery", "price", "quality", "service"], "macro_f1"),
    "similarity": ("regress", [], "pearson"),
    "urgent or not": ("classify", ["no", "yes"], "accuracy"),
}
TOGETHER = {"emotion": 0.912, "topics": 0.714, "similarity": 0.842, "urgent or not": 0.934}
ALONE = {"emotion": 0.893, "topics": 0.716, "similarity": 0.861}
ROWS = {"emotion": 1821, "topics": 940, "similarity": 1379, "urgent or not": 212}


def estimate(value, width, n, method="percentile bootstrap, 2,000 draws"):
    return {"value": value, "low": round(value - width, 4), "high": round(value + width, 4), "n": n, "method": method}


def scores(name, value):
    _, _, metric = KINDS[name]
    more = {"accuracy": "macro_f1", "macro_f1": "micro_f1", "pearson": "rmse"}[metric]
    return {metric: estimate(value, 0.014, ROWS[name]), more: estimate(round(value - 0.03, 4), 0.02, ROWS[name])}


def difference(name, value, width, against, subject):
    outcome = "helped" if value > width else "hurt" if value < -width else "inconclusive"
    metric = KINDS[name][2]
    return {
        "outcome": outcome,
        "against": against,
        "metric": metric,
        "difference": estimate(value, width, ROWS[name], "paired bootstrap, 2,000 draws"),
        "sentence": f"{subject} {outcome}: {value:+.3f} in {metric} against {against}.",
    }


def candidate(name, role, test, seconds, history=()):
    return {
        "name": name,
        "role": role,
        "model": "minilm",
        "pretrained": True,
        "why": "",
        "validation": test,
        "test": test,
        "cost": {
            "seconds": seconds,
            "peak_memory_bytes": 1_310_000_000,
            "trained_parameters": 3_553_164,
            "total_parameters": 22_716_300,
            "phases": [["encode", seconds * 0.4], ["fit", seconds * 0.6]],
            "flops": None,
        },
        "history": list(history),
    }


def epochs(names):
    """Eight epochs, the score of each task among them where there are several."""
    for epoch in range(8):
        each = {name: TOGETHER[name] + 0.01 - 0.1 * 0.55**epoch - 0.001 * i * epoch for i, name in enumerate(names)}
        yield {
            "phase": 0 if epoch < 1 else 1,
            "epoch": epoch,
            "train_loss": 0.7 * 0.8**epoch,
            "validation_loss": 0.7 * 0.84**epoch + 0.01 * epoch,
            "score": sum(each.values()) / len(each),
            "best": epoch <= 5,
            **({"scores": each} if len(names) > 1 else {}),
        }


def quality(name):
    """What a run of this task alone has at the top of its record, by kind."""
    kind, labels, _ = KINDS[name]
    if name == "urgent or not":
        return {"confusion": None, "per_class": [], "calibration": None, "mistakes": [], "slices": None}
    classes = [
        {"label": v, "n": 200, "precision": 0.9, "recall": 0.8 + 0.02 * i, "f1": 0.84} for i, v in enumerate(labels)
    ]
    bins = [{"n": 90 * i, "confidence": 0.1 * i + 0.05, "accuracy": 0.1 * i} for i in range(4, 10)]
    mistake = {"where": f"{name}.csv:41", "input": f"A text about {name} that was read wrongly.", "confidence": 0.97}
    match kind:
        case "classify":
            return {
                "confusion": {"labels": labels, "counts": [[540, 31, 22], [18, 601, 9], [40, 25, 535]]},
                "per_class": classes,
                "calibration": {"temperature": 1.21, "bins": bins},
                "mistakes": [mistake | {"truth": labels[0], "answer": labels[1]}],
                "slices": [
                    {"column": "source", "value": v, "n": 900, "test": {"accuracy": estimate(0.9, 0.02, 900)}}
                    for v in ("mail", "chat")
                ],
            }
        case "multilabel":
            return {
                "per_class": classes,
                "calibration": {"bins": bins},
                "mistakes": [mistake | {"truth": ["price"], "answer": ["price", "service"]}],
            }
        case _:
            points = [[0.1 * i % 5, 0.1 * i % 5 + 0.3 * (-1) ** i] for i in range(120)]
            return {"scatter": points, "mistakes": [mistake | {"truth": 0.4, "answer": 4.2, "confidence": None}]}


def task(name):
    kind, labels, metric = KINDS[name]
    n, known = ROWS[name], name in ALONE
    change = round(TOGETHER[name] - ALONE.get(name, 0), 4)
    return {
        "name": name,
        "kind": kind,
        "labels": labels,
        "metric": metric,
        "source": f"{name.split()[0]}.csv",
        "column": "label" if kind == "classify" else name,
        "weight": 1.0,
        "rows": {"train": 4 * n, "val": n // 2, "test": n},
        "classes": {split: dict.fromkeys(labels, n // (len(labels) + 1)) for split in ("train", "test")}
        if labels
        else {},
        "multi": estimate(TOGETHER[name], 0.014, n),
        "single": estimate(ALONE[name], 0.015, n) if known else None,
        "control": {"name": "tf-idf", "value": estimate(0.671, 0.02, n), "seconds": 1.4} if known else None,
        "verdict": difference(name, change, 0.008, f"{name} alone", "Learning together") if known else None,
        "transfer": difference(name, TOGETHER[name] - 0.671, 0.021, "tf-idf", "Transfer") if known else None,
        "test": scores(name, TOGETHER[name]),
        **quality(name),
    }


def multitask():
    names = list(KINDS)
    return {
        "delta_m_percent": estimate(-0.12, 0.9, 4352, "paired bootstrap over rows, 2,000 draws"),
        "sentence": "Learning 4 tasks together made no difference that can be told: Δm −0.1 % (−1.0 to 0.8) "
        "against a model for each, in 38 % of their time.",
        "balance": "first",
        "sampling": "proportional",
        "seconds": {"together": 96.2, "singles": 251.8},
        "tasks": [task(name) for name in names],
        "affinity": {
            "tasks": names,
            "matrix": [
                [0.0211, 0.0043, -0.0012, 0.0061],
                [0.0038, 0.0302, 0.0004, 0.0021],
                [-0.0057, 0.0, 0.0188, None],
                [0.0049, 0.0019, -0.0008, 0.0264],
            ],
            "measured": 48,
        },
        "grouping": {
            "groups": [["emotion", "topics", "urgent or not"], ["similarity"]],
            "text": "emotion, topics and urgent or not help each other; similarity learns better alone.",
            "carried_out": False,
        },
        "conflicts": [{"phase": 1, "epoch": epoch, "share": 0.35 - 0.03 * epoch} for epoch in range(7)],
    }


def several_record(base):
    """The record of a run of one task made into one of four."""
    left = ("task", "confusion", "per_class", "calibration", "mistakes", "slices", "scatter", "layers")
    together = candidate("finetune", "rung", {n: scores(n, TOGETHER[n]) for n in KINDS}, 96.2, epochs(list(KINDS)))
    alone = [
        candidate(f"{n} alone", "control", {n: scores(n, v)}, 84.1 - 2 * i, epochs([n]))
        for i, (n, v) in enumerate(ALONE.items())
    ]
    words = candidate("tf-idf", "control", {n: scores(n, 0.671) for n in ALONE}, 1.4)
    candidates = [together, *alone, words]
    return {key: value for key, value in base.items() if key not in left} | {
        "run": base["run"] | {"name": "messages", "command": "uke fit messages.toml --strategy finetune"},
        "data": base["data"] | {"name": "messages", "classes": {}, "tasks": list(KINDS)},
        "candidates": candidates,
        "controls": [{"name": c["name"], "test": c["test"], "seconds": c["cost"]["seconds"]} for c in candidates[1:]],
        "test": together["test"],
        "cost": together["cost"],
        "verdict": None,
        "gain_over_probe": None,
        "multitask": multitask(),
    }
