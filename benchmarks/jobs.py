"""How fast replays go when many are in flight, whether a shared budget holds, and what a kill costs.

    python benchmarks/jobs.py [--quick] [--kills N] [--out FILE]

The model is a clock: it sleeps 0.5 s and answers. One worker judges edits of several scopes at once, as jobs of a
DBOS queue on SQLite, with 100 calls in flight (10 scopes, 10 pairs each); `throughput_of_ideal` is the share of the
calls that 100 lanes could make in the time from the first call to the last; beginning and end, where fewer are in
flight, count.

`over_budget_calls` are the calls beyond the limit that ten processes made who shared it, `budget_calls` those that
they made; `reserve_ms` is the median time of a reservation while all ten of them spend.

With `--kills N`, workers that sleep are killed at N random moments (`tests/chaos/sleeping.py`): `kill_repeated` are
finished calls that were made again, `kill_calls` all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import _report
from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Job, Profile, Scope
from tokenspace.gates import GateSettings, ReplayGate
from tokenspace.graders import build
from tokenspace.jobs.dbos import DbosJobs
from tokenspace.testing.arena import RIGHT, WRONG, Arena, rule

CALL_S, LANES = 0.5, 100
ROOT = Path(__file__).parents[1]


class Lanes:
    """Counts calls of a model that sleeps, and when the first began and the last ended."""

    def __init__(self) -> None:
        self.calls, self.flying, self.most = 0, 0, 0
        self.began, self.ended = math.inf, 0.0

    async def call(self) -> None:
        """One call of the model."""
        self.began = min(self.began, time.perf_counter())
        self.calls, self.flying = self.calls + 1, self.flying + 1
        self.most = max(self.most, self.flying)
        await asyncio.sleep(CALL_S)
        self.flying, self.ended = self.flying - 1, time.perf_counter()

    @property
    def of_ideal(self) -> float:
        """The share of what so many lanes could do in this time."""
        return self.calls * CALL_S / LANES / (self.ended - self.began)


def sleeping_arena(url: str, scope: Scope, cases: int, lanes: Lanes) -> Arena:
    """Cases whose outcome no edit changes for the better or the worse, so that a test goes on to its cap."""

    def answer(prompt, _):
        number = int(prompt.messages[-1].text.split()[-1])
        return RIGHT if number % 2 == 0 or ("help" in prompt.system and number % 8 == 1) else WRONG

    arena = Arena(answer, scope=scope, deterministic=False, store=url)
    profile = Profile(model="clock", context_tokens=1_000_000, core_tokens=500_000)
    arena.model._profile = profile  # noqa: SLF001
    arena.taught(cases, people=["bob"])
    complete = arena.model.complete

    async def slow(prompt, *, budget, seed=0):
        await lanes.call()
        return await complete(prompt, budget=budget, seed=seed)

    arena.model.complete = slow
    return arena


def rules(batch: int, cases: int) -> GateSettings:
    never = dict.fromkeys(range(2, 5), 1e-9)  # nothing is ever convincing, and all is replayed
    return GateSettings(
        alpha=never, beta=1e-9, cap=dict.fromkeys(range(2, 5), cases), batch=batch, guard_pairs=0, audit_most=0
    )


def queued(folder: Path, scopes: int, cases: int) -> float:
    lanes, url = Lanes(), f"sqlite:///{folder}/queue.db"
    arenas = {
        f"t{number}": sleeping_arena(url, Scope(agent="a", tenant=f"t{number}"), cases, lanes)
        for number in range(scopes)
    }
    store = arenas["t0"].run.store
    left = asyncio.Event()
    done = Counter[str]()

    async def judge(job: Job) -> None:
        arena = arenas[job.ids[0]]
        gate = ReplayGate(arena.run, build, settings=rules(LANES // scopes, cases))
        await loop.judge(arena.run, gate, arena.attempt(rule("help")), budget=Budget())
        done[job.ids[0]] += 1
        if len(done) == scopes:
            left.set()

    async def main() -> None:
        async with DbosJobs(url, store.workroom, {"judge": judge}, concurrency=scopes, poll_s=0.05) as jobs:
            for name in arenas:
                await asyncio.to_thread(jobs.enqueue, "judge", [name], key="k", partition=name)
            await left.wait()

    asyncio.run(main())
    for arena in arenas.values():
        arena.run.store.close()
    print(f"queued: {lanes.calls} calls, at most {lanes.most} in flight, {lanes.ended - lanes.began:.1f} s")
    return lanes.of_ideal


SPENDER = """
import statistics, sys, time
from tokenspace.budget import Reservation, SharedBudget
from tokenspace.domain import Usage
from tokenspace.errors import BudgetExceeded
from tokenspace.store import open_store
from tokenspace.working import HourlyAccount
store = open_store(sys.argv[1])
made, times = 0, []
try:
    while True:
        budget = SharedBudget(HourlyAccount(store.workroom, "shared", {"calls": float(sys.argv[2])}))
        for _ in range(25):
            began = time.perf_counter()
            reserved = budget.reserve(Reservation(tokens=100))
            times.append(time.perf_counter() - began)
            made += 1
            time.sleep(0.001)
            budget.settle(reserved, Usage(calls=1, input_tokens=50))
        budget.close()
except BudgetExceeded:
    budget.close()
print(made, 1000 * statistics.median(times or [0.0]), 1000 * max(times or [0.0]))
"""


def shared_budget(folder: Path, limit: int) -> dict[str, float]:
    from tokenspace.store import open_store

    url = f"sqlite:///{folder}/budget.db"
    open_store(url).close()
    spenders = [
        subprocess.Popen([sys.executable, "-c", SPENDER, url, str(limit)], stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    told = [one.communicate()[0].split() for one in spenders]
    made = sum(int(calls) for calls, _, _ in told)
    return {
        "budget_calls": made,
        "over_budget_calls": max(0, made - limit),
        "reserve_ms": sorted(float(median) for _, median, _ in told)[5],
        "reserve_max_ms": max(float(most) for _, _, most in told),
    }


def killed(folder: Path, kills: int) -> dict[str, float]:
    sys.path.insert(0, str(ROOT / "tests" / "chaos"))
    import sleeping

    url, calls, scopes = f"sqlite:///{folder}/kills.db", folder / "calls", max(4, kills // 4)
    sleeping.teach(url, os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT), scopes)
    script = ROOT / "tests" / "chaos" / "sleeping.py"
    subprocess.run([sys.executable, script, url, calls, str(scopes), str(kills), "1"], check=True)
    asked = Counter(line.split(maxsplit=1)[1] for line in calls.read_text().splitlines())
    return {"kills": kills, "kill_calls": asked.total(), "kill_repeated": asked.total() - len(asked)}


def options() -> argparse.Namespace:
    parser = _report.options(__doc__)
    parser.add_argument("--kills", type=int, default=0, help="kill sleeping workers so often (a second or two each)")
    return parser.parse_args()


def main() -> None:
    args = options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            "throughput_of_ideal": queued(folder, 10, 30 if args.quick else 120),
            **shared_budget(folder, 500 if args.quick else 2_000),
        }
        if args.kills:
            figures |= killed(folder, args.kills)
    _report.table("jobs", figures.items(), header=("figure", "value"))
    _report.write("jobs", figures, args)


if __name__ == "__main__":
    main()
