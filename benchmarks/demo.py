"""The demo's figures, averaged over seeds: exam of a frozen, an append-everything and a gated context.

    python benchmarks/demo.py [--data FILE.csv --labels 8] [--seeds 1 2 3] [--quick] [--out FILE]

Each seed is one whole `tokenspace demo` in a process of its own. `--quick` runs one seed on the reader `nearest`, which
answers like the most similar example in its prompt, instead of on the language model: it checks the machinery.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import _report

KEYS = ("frozen_exam", "appended_exam", "learned_exam", "wrong_corrections", "wrong_served", "right_kept_out", "calls",
        "seconds", "resident_mb")  # fmt: skip


def run_demo(seed: int, options: list[str]) -> dict[str, float]:
    """The report of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        command = [sys.executable, "-m", "tokenspace", "demo", "--seed", str(seed), "--out", str(out), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads((out / "report.json").read_text())
    return {key: report[key] for key in KEYS}


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--data", help="a CSV file of one's own")
    parser.add_argument("--labels", help="how many labels to draw from it and rename")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    options = [word for name in ("data", "labels") if (value := getattr(args, name)) for word in (f"--{name}", value)]
    options += ["--model", "nearest"] if args.quick else []
    runs = {seed: run_demo(seed, options) for seed in (args.seeds[:1] if args.quick else args.seeds)}
    figures = {key: fmean(run[key] for run in runs.values()) for key in KEYS}
    figures["gain_over_appended"] = figures["learned_exam"] - figures["appended_exam"]
    figures["calls_most"] = max(run["calls"] for run in runs.values())
    figures["seconds_most"] = max(run["seconds"] for run in runs.values())
    rows = [[key, *(run[key] for run in runs.values()), figures[key]] for key in KEYS]
    _report.table("the demo", rows, header=("figure", *(f"seed {seed}" for seed in runs), "mean"))
    _report.write("demo", figures, args)


if __name__ == "__main__":
    main()
