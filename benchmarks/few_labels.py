"""Four tweet tasks with 200 labels each: does one model for all beat one a task? Three draws of the rows.

Goal: a mean Δm of at least 0; where it is not reached, the suggested grouping says which tasks to part.
"""

from __future__ import annotations

import json

import harness
import tweets

UKE = "--model minilm --strategy finetune --freeze 6 --layer last --controls tasks --precision auto"
SEEDS = (0, 1, 2)


def main() -> None:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--rows", type=int, default=200, help="training rows a task (default %(default)s)")
    parser.add_argument("--validation", type=int, default=200, help="validation rows a task (default %(default)s)")
    parser.add_argument("--balance", default="first", help="(default %(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="(default: 0 1 2)")
    options = parser.parse_args()
    seeds = options.seeds[:1] if options.quick else options.seeds
    sizes = {"train": options.rows, "dev": options.validation}
    with harness.staging() as folder:
        whole = tweets.staged(options.shared, folder, options.final)
        runs = {}
        for seed in seeds:
            few = tweets.thinned(whole, folder / f"few{seed}", sizes, seed)
            flags = [*UKE.split(), "--balance", options.balance, "--seed", str(seed)]
            runs[seed] = run = harness.measure(tweets.together(few, flags))
            harness.note(f"seed {seed}: {run.wall:.1f} s, Δm {tweets.delta_m(run)['value']:+.2f} %")
            harness.note(f"  grouping: {json.dumps(run.result['grouping'], ensure_ascii=False)}")
    gains = tweets.mean([tweets.delta_m(run)["value"] for run in runs.values()])
    found = {
        "rows_a_task": {"train": options.rows, "validation": options.validation},
        "balance": options.balance,
        "delta_m_percent": gains,
        "goal": 0.0,
        "reached": gains["mean"] >= 0,
        "seeds": {
            str(seed): {
                "delta_m_percent": run.result["delta_m_percent"],
                "grouping": run.result["grouping"],
                "tasks": run.result["tasks"],
                "wall_seconds": round(run.wall, 1),
            }
            for seed, run in runs.items()
        },
    }
    harness.report(__file__, options, found)


if __name__ == "__main__":
    main()
