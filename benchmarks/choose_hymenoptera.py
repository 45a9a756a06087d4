"""Which of five image networks to transfer to ants and bees: what `uke choose` says, against repeated cross-validation.

Goals: one of the two best by repeated 5-fold cross-validation is chosen, the network of birds is last, and ranking
takes at most 20 s on two cores once the features are stored. There is no peer: the truth is the score of a tuned linear
probe (scikit-learn's logistic regression on the same features), over ten divisions into folds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import harness

NAMES = (
    "mobilenetv1_100", "mobilenetv2_035", "mobilenetv2_100_imagenet", "mobilenetv2_100_inat_bird",
    "mobilenetv2_100_inat_insect",
)  # fmt: skip


def truth(features: np.ndarray, y: np.ndarray, repeats: int) -> list[float]:
    """Accuracy of each division: standardised features, the strength chosen inside each training part."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for seed in range(repeats):
        probe = make_pipeline(
            StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 0, 5), cv=3, max_iter=500, scoring="accuracy")
        )
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        found.append(float(cross_val_score(probe, features, y, cv=folds).mean()))
        harness.note(f"  division {seed + 1}/{repeats}: {found[-1]:.4f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=harness.HERE.parents[1] / "shared")
    parser.add_argument("--repeats", type=int, default=10, help="divisions into folds (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two divisions")
    parser.add_argument("--cache", type=Path, help="folder of the feature cache; a new one by default")
    options = parser.parse_args()
    data = options.shared / "data" / "hymenoptera"
    weights = [str((options.shared / "weights" / f"{name}.safetensors").resolve()) for name in NAMES]
    with tempfile.TemporaryDirectory(prefix="uke-bench-") as folder:
        cache = str(options.cache or folder)
        report(measure(data, weights, cache, 2 if options.quick else options.repeats))


def measure(data: Path, weights: list[str], cache: str, repeats: int) -> dict[str, Any]:
    import ukulele
    from ukulele.config import FitOptions
    from ukulele.doors.preview import preview
    from ukulele.trial.evidence import look

    began = time.perf_counter()
    ukulele.choose(data, weights, cache=cache)
    first = time.perf_counter() - began
    began, busy = time.perf_counter(), time.process_time()
    ranked = ukulele.choose(data, weights, cache=cache)
    second, busy = time.perf_counter() - began, time.process_time() - busy
    context = preview(data, FitOptions(cache=cache), lambda _event: None)
    scores = {}
    for name in weights:
        harness.note(Path(name).stem)
        seen = look(name, context)
        y = np.unique(seen.truth.values("label"), return_inverse=True)[1]
        scores[Path(name).stem] = truth(seen.stages[seen.last].float().numpy(), y, repeats)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    order = sorted(means, key=lambda name: -means[name])
    ours = [Path(one["model"]).stem for one in ranked["models"]]
    return {
        "seconds_with_pass": first, "seconds_after_pass": second, "cpu_seconds_after_pass": busy,
        "order": ours, "truth": means,
        "spread_of_divisions": {name: float(np.std(values, ddof=1)) for name, values in scores.items()},
        "chosen_among_best_two": ours[0] in order[:2], "bird_last": ours[-1] == "mobilenetv2_100_inat_bird",
        "regret_by_truth": max(means.values()) - means[ours[0]],
        "expected_regret": ranked["models"][0]["regret"],
        "models": [{k: one[k] for k in ("model", "expected", "regret", "scores", "layer")} for one in ranked["models"]],
    }  # fmt: skip


def report(found: dict[str, Any]) -> None:
    print(json.dumps({"benchmark": Path(sys.argv[0]).stem, "machine": harness.machine(), **found}, indent=2))


if __name__ == "__main__":
    main()
