"""The gate's test on recorded outcomes of real models, beside "better on the first 20 items".

    python benchmarks/gate_recorded.py [--quick] [--orders 400] [--seed 0] [--out FILE]
    python benchmarks/gate_recorded.py --pairs FILE [--alpha .05] [--futility [.2]] [--cap N] [--orders N] [--json]

Each pair of set-ups that were run on the same items is walked in random orders by `SequentialTest.decide`: θ grid,
α = .05, no cap and no futility. Both directions of every pair are rows, as taking a context away is an edit, too.

How a row is classed follows from what its source says of the two runs, and never from what the gate made of them:

* *A/A*: two runs of one set-up. τ-bench airline: the four trials of one agent. HumanEval-rs: ucs_a and ucs_b, which
  differ by nothing but that letter.
* *drift*: HumanEval-py simple_a and simple_b, published as a repeat and 4.3 points apart (134 and 141 of 164). It is
  an A/A pair, and counts as one.
* *gain*, *harm*, *equal*: two different set-ups, by the sign of the mean difference over all recorded items.
  GEPA: the plain prompt, its "default" and its "confidence" optimum. Dynamic Cheatsheet: no cheat sheet, an empty one,
  and the learned ones. Reflexion: one attempt, and with reflections; on ALFWorld both arms after as many retries, 1
  to 6 (the same tasks each time, so these six pairs are not independent).

A *large* gain is one of 10 points or more on 100 items or more. Left out: ALFWorld before any retry, which is one run
stored under two names (all 134 outcomes are equal).

The data are not part of this repository: set TOKENSPACE_DATA to the folder that has them. `--pairs` needs none of it:
a CSV with the header item,before,after, scores in [0, 1], empty for "not measured" (before: no pair; after: 0; over
10 % of the items: defer). It prints a verdict, the e-values and the number of items used, on one line each.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import statistics
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import _report
from _pairs import Level, in_random_orders, read, report
from tokenspace.errors import TokenspaceError, UsageError

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("TOKENSPACE_DATA", ROOT.parent / "shared" / "data"))
NAIVE_ITEMS = 20
LARGE, ENOUGH_ITEMS = 0.10, 100
ARROW = " → "
Scores = Mapping[str, float]


class Recorded(NamedTuple):
    """Two set-ups on the same items; `alike` names what they are if they are one: A/A or drift."""

    title: str
    before: str
    after: str
    old: Scores
    new: Scores
    alike: str = ""


class Row(NamedTuple):
    """One direction of a pair, and what came of its random orders."""

    name: str
    kind: str
    n: int
    fixes: int
    breaks: int
    difference: float
    accepted: float
    items: float | None
    naive: float


def main() -> None:
    parser = _options()
    args = parser.parse_args()
    if args.pairs:
        sys.exit(_of_file(args))
    if args.json:
        parser.error("--json is for --pairs FILE")
    pairs = [pair for source in (gepa, cheatsheet, reflexion, tau_bench) for pair in _present(source)]
    if not pairs:
        return
    orders = args.orders or (100 if args.quick else 400)
    rows = [row for pair in pairs for row in both_directions(pair, orders, args.seed)]
    kinds = ("A/A", "drift", "equal", "harm", "gain")
    rows.sort(key=lambda row: (kinds.index(row.kind), -row.accepted, row.difference, row.name))
    head = ("pair", "kind", "n", "fixes", "breaks", "true diff.", "accepted", "items", f"naive ({NAIVE_ITEMS} items)")
    cells = [[row.name, row.kind, row.n, row.fixes, row.breaks, f"{row.difference:+.3f}", f"{row.accepted:.3f}",
              "–" if row.items is None else row.items, f"{row.naive:.3f}"] for row in rows]  # fmt: skip
    _report.table(f"share of {orders} random orders accepted at α = .05", cells, header=head)
    found = figures(rows)
    _report.table("in all", found.items())
    _report.write("gate_recorded", found, args)


def _options() -> ArgumentParser:
    parser = _report.options(__doc__)
    parser.add_argument("--orders", type=int, help="random orders per pair (default: 400)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="judge a CSV with the header item,before,after")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--futility", type=float, nargs="?", const=0.2, metavar="BETA", help="give up small effects")
    parser.add_argument("--delta-min", type=float, default=0.10, help="least effect of interest, for --futility")
    parser.add_argument("--cap", type=float, default=math.inf, help="most items to use")
    parser.add_argument("--graded", action="store_true", help="use the λ grid even if all scores are 0 or 1")
    parser.add_argument("--json", action="store_true", help="with --pairs: JSON and nothing else")
    return parser


def _of_file(args: Namespace) -> int:
    """Judge a file; 2 if it, or an option, is not usable."""
    try:
        if (args.orders is not None and args.orders < 1) or args.cap < 1:
            raise UsageError("there is nothing to do", hint="--orders and --cap are 1 or more")
        outcomes, graded = read(args.pairs)
        level = Level(
            alpha=args.alpha, beta=args.futility, cap=args.cap, delta_min=args.delta_min, graded=graded or args.graded
        )
        print(report(outcomes, level, orders=args.orders, as_json=args.json))
    except TokenspaceError as error:
        print(f"{error} ({error.hint})", file=sys.stderr)
        return 2
    return 0


def both_directions(pair: Recorded, orders: int, seed: int) -> Iterator[Row]:
    """The rows of a pair: there and back."""
    items = sorted(pair.old.keys() & pair.new.keys())
    for before, after, old, new in (
        (pair.before, pair.after, pair.old, pair.new),
        (pair.after, pair.before, pair.new, pair.old),
    ):
        name = f"{pair.title}: {before}{ARROW}{after}"
        differences = [new[item] - old[item] for item in items]
        mean = statistics.fmean(differences)
        kind = pair.alike or ("gain" if mean > 0 else "harm" if mean < 0 else "equal")
        accepted, used = in_random_orders(differences, Level(), orders=orders, seed=(seed, name))
        yield Row(
            name, kind, len(items), sum(d > 0 for d in differences), sum(d < 0 for d in differences), mean,
            accepted, used, naive(differences, orders, (seed, name)),
        )  # fmt: skip


def naive(differences: Sequence[float], orders: int, seed: object) -> float:
    """Share of random orders in which the sum over the first 20 items is better."""
    draw = random.Random(str(seed))
    return sum(sum(draw.sample(differences, NAIVE_ITEMS)) > 0 for _ in range(orders)) / orders


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """What the rows come to, by key."""
    of = {kind: [row for row in rows if row.kind == kind] for kind in ("A/A", "drift", "equal", "harm", "gain")}
    nothing = of["A/A"] + of["drift"]
    large = [row for row in of["gain"] if row.difference >= LARGE and row.n >= ENOUGH_ITEMS]
    found = {
        "rows": len(rows),
        "null_rows": len(nothing),
        "null_accept": _mean(row.accepted for row in nothing),
        "null_accept_without_drift": _mean(row.accepted for row in of["A/A"]),
        "null_accept_naive": _mean(row.naive for row in nothing),
        "drift_accept": max((row.accepted for row in of["drift"]), default=0.0),
        "equal_accept": max((row.accepted for row in of["equal"]), default=0.0),
        "harm_rows": len(of["harm"]),
        "worst_harm_accept": max((row.accepted for row in of["harm"]), default=0.0),
        "mean_harm_accept": _mean(row.accepted for row in of["harm"]),
        "worst_harm_accept_naive": max((row.naive for row in of["harm"]), default=0.0),
        "mean_harm_accept_naive": _mean(row.naive for row in of["harm"]),
        "gains": len(of["gain"]),
        "gains_found": sum(row.accepted > 0.5 for row in of["gain"]),
        "large_gains": len(large),
        "large_gains_found": sum(row.accepted >= 0.95 for row in large),
        "worst_large_gain_accept": min((row.accepted for row in large), default=0.0),
        "large_gain_items": statistics.median([row.items for row in large if row.items is not None] or [0]),
        "worst_large_gain_accept_naive": min((row.naive for row in large), default=0.0),
    }
    return {key: float(value) for key, value in found.items()}


def _mean(values: Iterator[float]) -> float:
    every = list(values)
    return statistics.fmean(every) if every else 0.0


# ── The recordings ───────────────────────────────────────────────────────────────────────────


def _present(source: Callable[[], Iterator[Recorded]]) -> list[Recorded]:
    """The pairs of a source, or none and a line that says why."""
    try:
        return list(source())
    except FileNotFoundError as error:
        print(f"{source.__name__} is skipped: {error.filename} is not there; set TOKENSPACE_DATA to the data folder")
        return []


def _csv(*path: str) -> list[dict[str, str]]:
    with DATA.joinpath(*path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_arm(
    rows: Sequence[Mapping[str, str]], arm: Sequence[str], item: str, score: str
) -> dict[tuple[str, ...], dict[str, float]]:
    """Scores by item, of each arm."""
    arms: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        arms.setdefault(tuple(row[key] for key in arm), {})[row[item]] = float(row[score])
    return arms


def gepa() -> Iterator[Recorded]:
    """One model under a plain prompt and two that GEPA found, on the test sets of two tasks."""
    for task in ("ag_news", "rotten_tomatoes"):
        rows = _csv("gepa_prompt_outcomes", f"{task}_combined.csv")
        arms = {
            arm: {str(place): float(row[f"{arm}_correct"] == "True") for place, row in enumerate(rows)}
            for arm in ("baseline", "default", "confidence")
        }
        for old, new in combinations(arms, 2):
            yield Recorded(f"GEPA {task}", old, new, arms[old], arms[new])


def cheatsheet() -> Iterator[Recorded]:
    """Each task and model without a cheat sheet, with an empty one, and with each learned one that was recorded."""
    rows = _csv("dynamic_cheatsheet", "outcomes.csv")
    arms = _by_arm(rows, ("task", "model", "method"), "item_sha1_12", "correct")
    short = {"Baseline": "none", "EmptyCheatsheet": "empty", "Dynamic_Retrieval": "DR",
             "DynamicCheatsheet_RetrievalSynthesis": "DC-RS", "DynamicCheatsheet_Cumulative": "DC-Cu"}  # fmt: skip
    for task, model in sorted({key[:2] for key in arms}):
        methods = [method for method in short if (task, model, method) in arms]
        for old, new in combinations(methods, 2):
            if old in ("Baseline", "EmptyCheatsheet"):
                yield Recorded(
                    f"{task} {model}", short[old], short[new], arms[task, model, old], arms[task, model, new]
                )


def reflexion() -> Iterator[Recorded]:
    """HumanEval with and without reflections, its repeats, and ALFWorld after 1 to 6 retries."""
    arms = _by_arm(_csv("reflexion_outcomes", "programming_outcomes.csv"), ("benchmark", "run"), "item", "is_solved")
    plain = {"humaneval_py": ("simple_a", "simple_b"), "humaneval_rs": ("simple",)}
    repeats = {("simple_a", "simple_b"): "drift", ("ucs_a", "ucs_b"): "A/A"}
    for benchmark, first in plain.items():
        runs = [run for name, run in arms if name == benchmark]
        for old, new in combinations(runs, 2):
            if old in first or (old, new) in repeats:
                yield Recorded(
                    benchmark, old, new, arms[benchmark, old], arms[benchmark, new], repeats.get((old, new), "")
                )
    worlds = {run: _alfworld(run) for run in ("base", "reflexion")}
    for trial in range(1, 7):
        yield Recorded(
            f"ALFWorld retry {trial}", "plain", "reflexion", worlds["base"][trial], worlds["reflexion"][trial]
        )


def _alfworld(run: str) -> dict[int, dict[str, float]]:
    lines = (DATA / "reflexion_outcomes" / f"alfworld_runs_root_{run}_run_logs.jsonl").read_text("utf-8").splitlines()
    trials: dict[int, dict[str, float]] = {}
    for row in map(json.loads, lines):
        trials.setdefault(row["trial"], {})[row["env"]] = float(row["is_success"])
    return trials


def tau_bench() -> Iterator[Recorded]:
    """Four trials of one agent on the same 50 tasks."""
    arms = _by_arm(_csv("tau_bench_airline", "outcomes.csv"), ("trial",), "task_id", "reward")
    for (old,), (new,) in combinations(arms, 2):
        yield Recorded("τ-bench airline", f"trial {old}", f"trial {new}", arms[old,], arms[new,], "A/A")


if __name__ == "__main__":
    main()
