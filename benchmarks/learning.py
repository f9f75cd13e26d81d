"""What learning is worth on streams of real tasks, against the baselines, with paired intervals.

    python benchmarks/learning.py [--quick] [--embedded] [--only NAME ...] [--seeds 1 2 3] [--out FILE]

Long streams are answered by the reader `nearest`, which is frozen and answers like the most similar example in its
prompt; a short one, with `--embedded`, by the embedded language model. Streams: *banking77* and *clinc150*, domain
by domain, one lesson in ten wrong; *relabel*, where eight labels exchange their names half way; *memprompt*, where one
user clarifies what they mean. Data: see the README of the folder that TOKENSPACE_DATA names.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import _report
from tokenspace.agents import ChatAgent
from tokenspace.context import recallable
from tokenspace.domain import Context, Kind
from tokenspace.loop import render
from tokenspace.models import resolve
from tokenspace.recall.hybrid import searched_text
from tokenspace.recall.words import bm25
from tokenspace.stats import wilson
from tokenspace.streams.arms import Learned, request_of
from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metered import Metered
from tokenspace.streams.metrics import against, recovery, summary
from tokenspace.streams.run import Cell, Results, Track, cells, run_cell
from tokenspace.streams.stream_report import text
from tokenspace.streams.tasks import Stream, Task, clarified, data_folder

WORKERS = 2

BANKING = StreamConfig(
    name="banking77, domain by domain", source="banking77", labels=16, stages=4, tasks=240, exam=32, noise=0.1,
    context_tokens=4_000, recalled=1, sleep_every=60, sleep_calls=40, window=30, seeds=(1, 2, 3),
)  # fmt: skip
CLINC = StreamConfig(
    name="CLINC150, domain by domain", source="clinc150", labels=30, stages=10, tasks=300, exam=30, noise=0.1,
    context_tokens=4_000, recalled=1, sleep_every=75, sleep_calls=40, window=30, seeds=(1, 2, 3), hindsight=False,
)  # fmt: skip
RELABEL = StreamConfig(
    name="banking77, eight labels exchange their names", source="banking77", labels=8, tasks=240, relabel=8,
    relabel_at=140, noise=0.1, sleep_every=10, sleep_calls=20, window=20, seeds=(1, 2, 3), hindsight=False,
    arms=("tokenspace", "nearest"),
)  # fmt: skip
EMBEDDED = StreamConfig(
    name="banking77, embedded model", source="banking77", labels=8, rename=True, tasks=40, noise=0.1, model="local",
    system="You route customer messages to teams. Answer with the name of the team only.", context_tokens=0,
    sleep_every=20, sleep_calls=10, window=10, hindsight=False, arms=("tokenspace", "none", "nearest"),
)  # fmt: skip
MEMORY_TASKS = 200


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--embedded", action="store_true", help="also a short stream on the embedded model")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts")
    parser.add_argument("--seeds", type=int, nargs="+", help="other seeds than the usual")
    args = parser.parse_args()
    if not (data_folder() / "banking77").is_dir():
        sys.exit(f"no data in {data_folder()}: set TOKENSPACE_DATA to the folder with banking77, clinc150, memprompt")
    figures: dict[str, float] = {}
    for name in args.only:
        figures |= PARTS[name](args)
    if args.embedded:
        figures |= embedded(args)
    _report.write("learning", figures, args)


def run(config: StreamConfig, args: Any) -> Results:
    """All cells of a run, by several processes."""
    if args.seeds:
        config = replace(config, seeds=tuple(args.seeds))
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(WORKERS) as pool:
        every = list(cells(config))
        found = pool.map(_one, every, [config] * len(every), [Path(folder)] * len(every))
        return dict(zip(every, found, strict=True))


def _one(cell: Cell, config: StreamConfig, folder: Path) -> Track:
    return run_cell(config, cell, ChatAgent(resolve(config.model)), folder=folder)


def _small(config: StreamConfig, args: Any, **changes: Any) -> StreamConfig:
    return replace(config, **changes) if args.quick else config


def _told(config: StreamConfig, results: Results) -> dict[str, Any]:
    figures = summary(config, results)
    print(f"\n{text(config, figures)}", flush=True)
    return figures


# ── domain by domain ────────────────────────────────────────────────────────────────────────


def banking77(args: Any) -> dict[str, float]:
    config = _small(BANKING, args, labels=8, stages=2, tasks=80, exam=16, seeds=(1,), window=20, hindsight=False)
    return _domains("banking77", _told(config, run(config, args)))


def clinc150(args: Any) -> dict[str, float]:
    config = _small(CLINC, args, labels=20, stages=2, tasks=80, exam=16, seeds=(1,), window=20, hindsight=False)
    return _domains("clinc150", _told(config, run(config, args)))


def _domains(name: str, figures: dict[str, Any]) -> dict[str, float]:
    ours, best = figures["arms"]["tokenspace"], figures["best_baseline"]
    pair = figures["against"][best]
    found = {
        f"{name}_accuracy": ours["accuracy"],
        f"{name}_best_baseline_accuracy": figures["arms"][best]["accuracy"],
        f"{name}_gain_over_best_baseline": pair["difference"],
        f"{name}_gain_low": pair["low"],
        f"{name}_gain_high": pair["high"],
        f"{name}_gain_over_no_memory": figures["against"]["none"]["difference"],
    }
    for measure in ("final_average", "forgetting", "backward_transfer", "forward_transfer", "calls_per_improvement"):
        for arm in ("tokenspace", best):
            if measure in figures["arms"][arm]:
                whose = "" if arm == "tokenspace" else "best_baseline_"
                found[f"{name}_{whose}{measure}"] = figures["arms"][arm][measure]
    return found


# ── other names ─────────────────────────────────────────────────────────────────────────────


def relabel(args: Any) -> dict[str, float]:
    config = _small(
        RELABEL, args, tasks=160, relabel_at=80, seeds=(1,), labels=4, relabel=4, arms=("tokenspace", "nearest")
    )
    results = run(config, args)
    figures = _told(config, results)
    curve = figures["arms"]["tokenspace"]["curve"]
    print("  by 20 tasks: " + " ".join(f"{100 * one:.0f}" for one in curve))
    found: dict[str, float] = {}
    for arm in config.arms:
        after = recovery([one for cell, one in results.items() if cell.arm == arm], config.relabel_at)
        name = "relabel_recovery_tasks" if arm == "tokenspace" else f"relabel_recovery_tasks_{arm}"
        found[name] = float(config.tasks - config.relabel_at if after is None else after)
        print(f"  {arm} recovers after {'no number of' if after is None else after} tasks")
    pair = against(results, "tokenspace", "nearest", start=config.relabel_at)
    return found | {"relabel_gain_after": pair["difference"], "relabel_gain_after_low": pair["low"]}


# ── clarifications ──────────────────────────────────────────────────────────────────────────


def memprompt(args: Any) -> dict[str, float]:
    """A clarification given once: is it in the prompt when its kind of question returns, and is no other one?"""
    seeds = args.seeds or ([1] if args.quick else [1, 2, 3])
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts += _clarified(seed, 60 if args.quick else MEMORY_TASKS)
    figures, rows = {"memprompt_served": _share(counts, "served", "clarified")}, list[list[object]]()
    for slots, words in ((1, "one rule in a prompt"), (2, "two rules in a prompt"), (0, "the best by BM25 alone")):
        tail = {1: "", 2: "_two_rules", 0: "_bm25"}[slots]
        parts = {
            "same": ("same_right", "same"), "wrong": ("same_wrong", "same"),
            "other": ("other_right", "other"), "other_wrong": ("other_wrong", "other"),
        }  # fmt: skip
        shares = {key: _share(counts, f"{part}_{slots}", of) for key, (part, of) in parts.items()}
        figures |= {f"memprompt_{key}{tail}": share for key, share in shares.items()}
        rows.append([words, *shares.values()])
    header = ("", "same way: right", "wrong one", "other words: right", "wrong one")
    _report.table(
        f"MemPrompt, {counts['same']} asked the same way, {counts['other']} in other words", rows, header=header
    )
    low, high = wilson(counts["same_right_1"], counts["same"])
    print(f"  asked the same way: [{low:.3f}, {high:.3f}]")
    return figures


def _share(counts: Counter[str], part: str, of: str) -> float:
    return counts[part] / max(1, counts[of])


def _clarified(seed: int, most: int) -> Counter[str]:
    """One user clarifies half of the wordings of each intent once; then all wordings are asked with other words in."""
    rng = random.Random(seed)
    kinds: dict[str, list[Task]] = {}
    for task in clarified():
        kinds.setdefault(task.kind, []).append(task)
    intents: dict[str, list[str]] = {}
    for kind in sorted(kinds):
        intents.setdefault(kind.split("/")[0], []).append(kind)
    given = {kind for wordings in intents.values() for kind in rng.sample(wordings, max(1, len(wordings) * 2 // 3))}
    config = StreamConfig(source="memprompt", user="ana", context_tokens=4_000)
    learner = Learned(config, Stream(tasks=(), exams=((),), choices=(), clarifies=True), _agent(config))
    counts: Counter[str] = Counter(clarified=len(given))
    asked = list[Task]()
    for kind in sorted(given):
        first, *rest = rng.sample(kinds[kind], len(kinds[kind]))
        learner.teach(first, learner.answer(first))
        asked += rest
    asked += [task for kind in sorted(kinds.keys() - given) for task in kinds[kind]]
    learner.rest()
    context = learner.context()
    counts["served"] = sum(entry.kind is Kind.RULE for entry in context.entries)
    intent = {kinds[kind][0].taught: kind.split("/")[0] for kind in kinds}
    for task in rng.sample(asked, min(most, len(asked))):
        ways = {slots: _shown(learner, context, task, config, slots) for slots in (1, 2)}
        ways[0] = _bm25(recallable(context), task.text)
        name = "same" if task.kind in given else "other"
        counts[name] += 1
        meant = task.kind.split("/")[0]
        for slots, texts in ways.items():
            right = task.taught in texts if name == "same" else any(intent[one] == meant for one in texts)
            counts[f"{name}_right_{slots}"] += right
            counts[f"{name}_wrong_{slots}"] += any(intent[one] != meant for one in texts)
    return counts


def _shown(learner: Learned, context: Context, task: Task, config: StreamConfig, slots: int) -> list[str]:
    """The texts in the prompt for a task, where that many rules may be in it."""
    run, stream = learner.agent.parts.runtime, Stream(tasks=(), exams=(), choices=())
    profile = replace(run.agent.profile, recalled_rules=slots)
    prompt = render(run.recall, context, request_of(task, stream, config), profile=profile, now=run.clock())
    return [context.by_id[id].text for id in prompt.included]


def _agent(config: StreamConfig) -> Metered:
    return Metered(ChatAgent(resolve(config.model)), limit=config.context_tokens)


def _bm25(entries: Any, query: str) -> list[str]:
    scores = bm25(query, [searched_text(entry) for entry in entries], k1=0.6, b=0.3)
    best = int(scores.argmax()) if len(entries) else 0
    return [entries[best].text] if len(entries) and scores[best] > 0 else []


# ── the embedded model ──────────────────────────────────────────────────────────────────────


def embedded(args: Any) -> dict[str, float]:
    config = _small(EMBEDDED, args, tasks=16, arms=("tokenspace", "none"))
    agent = ChatAgent(resolve(config.model))
    figures = _told(config, {cell: run_cell(config, cell, agent) for cell in cells(config)})
    ours = figures["arms"]["tokenspace"]
    return {"embedded_accuracy": ours["accuracy"], "embedded_last_window": ours["curve"][-1],
            "embedded_gain_over_no_memory": figures["against"]["none"]["difference"],
            "embedded_calls": ours["calls"], "embedded_seconds": ours["seconds"]}  # fmt: skip


PARTS = {"banking77": banking77, "clinc150": clinc150, "relabel": relabel, "memprompt": memprompt}

if __name__ == "__main__":
    main()
