"""What a saboteur costs: accuracy lost with and without the gate, by several seeds and two streams of tasks.

    python benchmarks/attack_demo.py [--data FOLDER] [--seeds 1 2 3 4 5] [--quick] [--live] [--out FILE]

The stream, the saboteur and the four contexts are those of `tokenspace demo --attack`, on the reader `nearest`, which
answers like the most similar example in its prompt: 96 lessons by colleagues, one in ten of them careless, 32 by the
saboteur, and an unseen exam of 176 messages, once from the support desk and once from banking77 (8 labels, renamed;
FOLDER/banking77/train.csv, default $TOKENSPACE_DATA or ../shared/data). Calls are not limited. `--live` instead runs
`tokenspace demo --attack` once on the embedded language model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import _report
from tokenspace.agents import ChatAgent
from tokenspace.api import LearningAgent
from tokenspace.config import Settings, build
from tokenspace.domain import Scope
from tokenspace.models import NearestModel
from tokenspace.store import open_store
from tokenspace.streams.attack import SABOTEUR, Outcomes, Side, plan, run_attack
from tokenspace.streams.attack_report import HEADLINE, loss
from tokenspace.streams.desk import CARELESS, TEACHERS, CountingAgent
from tokenspace.streams.items import Item, choose_labels, read_items

SIDES: tuple[Side, ...] = ("clean", "insider", "outsider", "ungated")
LABELS = 8


def run_seed(items: list[Item], seed: int, *, teach: int, exam: int) -> Outcomes:
    """All sides of one run on the cheap reader, with their stores in memory."""
    counter = CountingAgent(ChatAgent(NearestModel()))

    def open_side(side: Side) -> LearningAgent:
        teachers = frozenset([*TEACHERS, CARELESS, *([SABOTEUR] if side == "insider" else [])])
        settings = Settings(agent="desk", teachers=teachers, principal="desk")
        parts = build(settings, model=counter, store=open_store("memory:"))
        return LearningAgent(parts, Scope(agent="desk"), principal="desk")

    return run_attack(plan(items, seed=seed, teach=teach, exam=exam), open_side)


def offline(args: argparse.Namespace) -> dict[str, float]:
    """The figures over all seeds and streams; a table row for each."""
    teach, exam = (48, 48) if args.quick else (96, 176)
    streams = ["desk", "banking77"]
    right: dict[str, dict[Side, list[bool]]] = {name: {side: [] for side in SIDES} for name in streams}
    rows, served = [], {"sabotage": 0, "taught": 0}
    for name in streams:
        for seed in args.seeds[:1] if args.quick else args.seeds:
            path = args.data / "banking77" / "train.csv"
            items = read_items() if name == "desk" else choose_labels(read_items(path), LABELS, seed=seed)
            outcomes = run_seed(items, seed, teach=teach, exam=exam)
            for side in SIDES:
                right[name][side] += outcomes[side].right
            wrong = [one for one in outcomes["insider"].taught if one.step.sabotage and one.wrong]
            served["sabotage"] += sum(one.served for one in wrong)
            served["taught"] += len(wrong)
            rows.append([f"{name} {seed}", *(outcomes[side].exam for side in SIDES), sum(one.served for one in wrong)])
            print(*rows[-1], flush=True)
    header = ("stream, seed", "clean", "insider", "outsider", "ungated", "sabotage served")
    _report.table("right answers in the unseen exam", rows, header=header)
    pooled = {side: [one for name in streams for one in right[name][side]] for side in SIDES}
    figures = _figures(pooled, "")
    for name in streams:
        figures |= _figures(right[name], f"{name}_")
    return figures | {"tasks": len(pooled["clean"]), **{f"insider_{key}": float(n) for key, n in served.items()}}


def _figures(right: dict[Side, list[bool]], prefix: str) -> dict[str, float]:
    """Exams, and what each side lost against the clean one with its paired 95 % interval over the questions."""
    share = {side: sum(found) / len(found) for side, found in right.items()}
    figures = {
        "clean_exam": share["clean"],
        "attacked_gated_exam": share[HEADLINE],
        "attacked_ungated_exam": share["ungated"],
        "insider_exam": share["insider"],
        "outsider_exam": share["outsider"],
    }
    for side in ("insider", "outsider", "ungated"):
        figures |= {f"{side}_{key}": value for key, value in loss(right["clean"], right[side]).items()}
    return {f"{prefix}{key}": value for key, value in figures.items()}


def live(args: argparse.Namespace) -> dict[str, float]:
    """The numbers of one `tokenspace demo --attack` on the embedded model."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        command = [
            sys.executable,
            "-m",
            "tokenspace",
            "demo",
            "--attack",
            "--seed",
            str(args.seeds[0]),
            "--out",
            str(out),
        ]
        subprocess.run([*command, "--quick"] if args.quick else command, check=True)
        report = json.loads((out / "report.json").read_text())
    return {key: value for key, value in report.items() if isinstance(value, (int, float))}


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TOKENSPACE_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--live", action="store_true", help="once on the embedded language model")
    args = parser.parse_args()
    figures = live(args) if args.live else offline(args)
    keys = [key for key in figures if not key.startswith(("desk_", "banking77_"))]
    _report.table("figures", [[key, figures[key]] for key in keys])
    _report.write("attack_demo_live" if args.live else "attack_demo", figures, args)


if __name__ == "__main__":
    main()
