"""Peak anonymous memory (RssAnon) of the feature pass: 20,000 rows against 200,000.

The rows are sst2's training rows over and over, each with a suffix of its own, so that no cache and no check for
duplicates can shorten them. Goal: 200,000 rows take at most 300 MB more than 20,000.
"""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

PASS = Path(__file__).with_name("feature_pass.py")
SIZES = (20_000, 200_000)
EVERY = 0.05  # seconds between two looks
ALLOWED = 300e6  # bytes


def main() -> None:
    parser = harness.arguments(__doc__, rounds=1)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, metavar="ROWS")
    options = parser.parse_args()
    small, large = options.sizes
    with harness.staging() as folder:
        found = {str(rows): measure(folder, options.shared, rows) for rows in (small, large)}
    growth = found[str(large)]["peak_rss_anon_bytes"] - found[str(small)]["peak_rss_anon_bytes"]
    harness.report(__file__, options, {"sizes": found, "growth_bytes": growth, "within": growth <= ALLOWED})


def measure(folder: Path, shared: Path, rows: int) -> harness.Json:
    """Run the pass over that many rows and watch its memory."""
    data = write(folder / f"rows{rows}.csv", shared / "data" / "sst2" / "train.csv", rows)
    with tempfile.TemporaryDirectory(prefix="uke-bench-") as out:
        start = time.perf_counter()
        with (Path(out) / "said").open("w+") as said:
            environment = harness.environment(Path(out))
            process = subprocess.Popen(
                [sys.executable, str(PASS), str(data), "--cache", out],
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=out,
            )
            peak = watch(process)
            if process.returncode:
                said.seek(0)
                sys.exit(f"the pass ended with {process.returncode}:\n{said.read()[-3000:]}")
        return {"peak_rss_anon_bytes": peak, "wall_seconds": round(time.perf_counter() - start, 1)}


def watch(process: subprocess.Popen[bytes]) -> int:
    """The largest sum of RssAnon over the process and its children, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(rss_anon(pid) for pid in family(process.pid)))
        time.sleep(EVERY)
    return peak


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # it ended between two looks
        return []
    return [pid, *itertools.chain.from_iterable(family(child) for child in children)]


def rss_anon(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended between two looks
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 if found else 0


def write(path: Path, source: Path, rows: int) -> Path:
    """`rows` rows made of the source's, each with its number behind the text."""
    with source.open(newline="", encoding="utf-8") as file:
        header, *body = csv.reader(file)
    text = header.index("text")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number, row in zip(range(rows), itertools.cycle(body), strict=False):
            writer.writerow([f"{cell} {number}" if index == text else cell for index, cell in enumerate(row)])
    return path


if __name__ == "__main__":
    main()
