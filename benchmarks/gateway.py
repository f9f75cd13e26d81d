"""What does the gateway cost? Its latency, CPU and memory beside nginx and LiteLLM's proxy, all in one run.

    python benchmarks/gateway.py [--quick] [--nginx PROGRAM] [--litellm PYTHON] [--out FILE]

A provider that costs little (`_provider.py`) answers in a process of its own; this process is the load
(`_load.py`), and the arms take turns in every round, so that a busy machine is busy for all of them.

* direct: no proxy, the yardstick of latency.
* nginx: passthrough in C, one worker, nothing parsed. Left out where there is no `nginx`.
* ours: `python -m tokenspace serve` with a key; 40 rules and instructions go into every request, every episode is kept.
* LiteLLM's proxy with a key, one worker, no database, in an environment of its own whose Python `--litellm` names.
  Measured with version 1.106.10.

CPU time is that of a server's process with all its children, until it is quiet again: what is written after the
answer counts. Ratios per CPU-second are the figures to trust on a shared machine. Streams have 50 chunks; "paced" ones
come 2 ms apart, as a model writes, the others as fast as they are taken.

Headline: `added_p50_ms` is the worst of 1, 10 and 100 KB (ours less direct, one client, JSON); `json_per_cpu_s` and
`streams_per_cpu_s` are of 1 KB bodies and 16 clients. `vs_nginx` and `streams_vs_nginx` say how many times the CPU of
nginx ours needs, `vs_litellm` how many times less than LiteLLM. Targets: at most 1 ms; within 10 times of nginx
(streams: 5); at least 40 times LiteLLM; at most 80 MB and ready within 1 s, and 200 MB with recall and MCP loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

import _load
import _report
from _load import Target
from _servers import Arm, cpu_s, get, litellm, nginx, ours, process, quiet, resident_mb, taught

HERE: Final = Path(__file__).parent
SIZES_KB: Final = (1, 10, 100)
CLIENTS: Final = 16
WARM: Final = 3
"""The first requests on a connection are not counted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured; `load_s` is the time of one arm in one round, twice that for a slow one."""

    latency_rounds: int
    latency_requests: int
    load_rounds: int
    load_s: float
    starts: int


FULL: Final = Plan(latency_rounds=12, latency_requests=40, load_rounds=5, load_s=1.5, starts=7)
QUICK: Final = Plan(latency_rounds=4, latency_requests=15, load_rounds=2, load_s=0.5, starts=2)


@dataclass(frozen=True, kw_only=True)
class Load:
    """One kind of request."""

    name: str
    size_kb: int
    stream: bool = False
    model: str = "fake"

    @property
    def bodies(self) -> list[bytes]:
        """One conversation's calls."""
        return _load.templates(self.size_kb * 1_000, model=self.model, stream=self.stream)


LOADS: Final = (
    Load(name="json_1kb", size_kb=1),
    Load(name="json_10kb", size_kb=10),
    Load(name="json_100kb", size_kb=100),
    Load(name="streams", size_kb=1, stream=True),
    Load(name="streams_paced", size_kb=1, stream=True, model="paced"),
)


# ── latency ─────────────────────────────────────────────────────────────────────────────────


def latency(arms: Sequence[Arm], plan: Plan, figures: dict[str, float]) -> None:
    """What every arm adds, by size: the last byte of JSON, the first byte of a stream."""
    rows: list[list[object]] = []
    for kb in SIZES_KB:
        for stream in (False, True):
            load = Load(name=f"{'stream' if stream else 'json'}_{kb}kb", size_kb=kb, stream=stream)
            _one_client(arms, load, plan)
            direct = arms[0].seconds[load.name]
            row: list[object] = [f"{'stream, first byte' if stream else 'JSON'}, {kb} KB", _p50_ms(direct)]
            for arm in arms[1:]:
                figures[f"{arm.name}_added_p50_ms_{load.name}"] = added = _added_ms(arm.seconds[load.name], direct)
                row.append(added)
            rows.append(row)
    _report.table("p50 of one client, ms", rows, header=("", "direct", *(f"+ {arm.name}" for arm in arms[1:])))
    figures["added_p50_ms"] = max(figures[f"ours_added_p50_ms_json_{kb}kb"] for kb in SIZES_KB)
    figures["added_first_byte_p50_ms"] = max(figures[f"ours_added_p50_ms_stream_{kb}kb"] for kb in SIZES_KB)


def _one_client(arms: Sequence[Arm], load: Load, plan: Plan) -> None:
    """The arms take turns, and each round begins with another one."""
    for number in range(plan.latency_rounds):
        turn = number % len(arms)
        for arm in [*arms[turn:], *arms[:turn]]:
            count = WARM + (plan.latency_requests // 4 if arm.slow else plan.latency_requests)
            last, first = uvloop.run(_load.one_by_one(arm.target, load.bodies, count))
            arm.seconds.setdefault(load.name, []).append((first if load.stream else last)[WARM:])
            arm.asked += count


def _p50_ms(rounds: Sequence[Sequence[float]]) -> float:
    return statistics.median(value for part in rounds for value in part) * 1_000


def _added_ms(rounds: Sequence[Sequence[float]], direct: Sequence[Sequence[float]]) -> float:
    """The median over rounds of what lies between a round's medians: what changes from round to round falls out."""
    pairs = zip(rounds, direct, strict=True)
    return statistics.median(statistics.median(one) - statistics.median(other) for one, other in pairs) * 1_000


# ── CPU ─────────────────────────────────────────────────────────────────────────────────────


def throughput(arms: Sequence[Arm], plan: Plan, figures: dict[str, float]) -> None:
    """Requests per CPU-second of every arm, and the ratios."""
    rows: list[list[object]] = []
    for load in LOADS:
        for _ in range(plan.load_rounds):
            for arm in arms[1:]:
                _many_clients(arm, load, plan)
        row: list[object] = [load.name]
        for arm in arms[1:]:
            each = sorted(1 / max(1e-6, seconds) for seconds in arm.cpu_s[load.name])
            figures[f"{arm.name}_{load.name}_per_cpu_s"] = middle = statistics.median(each)
            row += [middle, f"{each[0]:,.0f} to {each[-1]:,.0f}"]
        rows.append(row)
    header = ("", *(cell for arm in arms[1:] for cell in (arm.name, "range")))
    _report.table(f"requests per CPU-second, {CLIENTS} clients", rows, header=header)
    figures["json_per_cpu_s"] = figures["ours_json_1kb_per_cpu_s"]
    figures["streams_per_cpu_s"] = figures["ours_streams_per_cpu_s"]
    for name, load in (("", "json_1kb"), ("streams_", "streams"), ("streams_paced_", "streams_paced")):
        own = figures[f"ours_{load}_per_cpu_s"]
        for other in arms[1:]:
            theirs = figures[f"{other.name}_{load}_per_cpu_s"]
            if other.name != "ours":
                figures[f"{name}vs_{other.name}"] = own / theirs if other.name == "litellm" else theirs / own


def _many_clients(arm: Arm, load: Load, plan: Plan) -> None:
    assert arm.pid is not None
    before = cpu_s(arm.pid)
    limit_s = plan.load_s * (2 if arm.slow else 1)
    done = uvloop.run(_load.together(arm.target, load.bodies, clients=CLIENTS, limit_s=limit_s))
    quiet(arm.pid)
    arm.cpu_s.setdefault(load.name, []).append((cpu_s(arm.pid) - before) / done)
    arm.asked += done


# ── start and memory ────────────────────────────────────────────────────────────────────────


def start(folder: Path, provider: int, plan: Plan, figures: dict[str, float]) -> None:
    """How long it takes from the process to `/readyz`, and the CPU time of it."""
    folder.mkdir()
    store = taught(folder / "store.db", examples=False)
    ready: list[float] = []
    cpu: list[float] = []
    for _ in range(plan.starts + 1):
        with ours(folder, provider, store=store) as one:
            ready.append(one.ready_s)
            cpu.append(one.ready_cpu_s)
    rows = [(name, statistics.median(all[1:]), min(all[1:]), max(all[1:])) for name, all in
            (("until ready", ready), ("its CPU time", cpu))]  # fmt: skip
    _report.table("start, seconds", rows, header=("", "median", "least", "most"))
    figures["ready_s"], figures["ready_cpu_s"] = float(rows[0][1]), float(rows[1][1])
    figures["ready_least_s"] = min(ready[1:])


def memory_with_recall(folder: Path, provider: int, plan: Plan, figures: dict[str, float]) -> None:
    """Memory with the embedder, 200 examples to recall from, and the MCP server loaded."""
    folder.mkdir()
    with ours(folder, provider, store=taught(folder / "store.db", examples=True)) as one:
        for _ in range(3):  # recall is loaded at the first request that wants it, and later ones have it
            uvloop.run(_load.one_by_one(one.target, LOADS[0].bodies, plan.latency_requests))
            quiet(one.child.pid)
        headers = {"authorization": f"Bearer {one.key}", "accept": "application/json, text/event-stream"}
        status, _ = get(f"{one.url}/mcp", headers)
        if status in (0, 404):
            raise RuntimeError(f"MCP is not there: {status}")
        quiet(one.child.pid)
        figures["rss_with_recall_mb"] = resident_mb(one.child.pid)


# ── the whole ───────────────────────────────────────────────────────────────────────────────


def check_same(direct: Arm, arm: Arm) -> None:
    """What a client gets must be what the provider said, or nothing else here means anything."""

    async def answer(target: Target) -> bytes:
        client = await _load.connected(target.port)
        await client.ask(next(_load.requests(target, LOADS[0].bodies)))
        client.transport.close()
        return client.answer.partition(b"\r\n\r\n")[2]

    said, heard = json.loads(uvloop.run(answer(direct.target))), json.loads(uvloop.run(answer(arm.target)))
    if said["choices"][0]["message"]["content"] != heard["choices"][0]["message"]["content"]:
        raise RuntimeError(f"{arm.name} answers something else: {heard}")
    arm.asked += 1


def kept(store: str) -> int:
    """How many episodes a store holds."""
    with sqlite3.connect(f"file:{store.removeprefix('sqlite:///')}?mode=ro", uri=True) as base:
        (count,) = base.execute("select count(*) from episode").fetchone()
    return int(count)


def optional(
    name: str, program: str | None, begin: Callable[[str], AbstractContextManager[Arm]], stack: ExitStack
) -> list[Arm]:
    """The arm of another's proxy, if it is there."""
    if program is None:
        print(f"{name}: not installed")
        return []
    return [stack.enter_context(begin(program))]


def measure(folder: Path, plan: Plan, nginx_program: str | None, litellm_python: str | None) -> dict[str, float]:
    """All figures."""
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        fake = stack.enter_context(process([sys.executable, str(HERE / "_provider.py")]))
        assert fake.stdout is not None
        provider = int(fake.stdout.readline())
        store = taught(folder / "store.db", examples=False)
        one = stack.enter_context(ours(folder, provider, store=store))
        own = Arm(name="ours", target=one.target, pid=one.child.pid)
        arms = [Arm(name="direct", target=Target(port=provider))]
        arms += optional("nginx", nginx_program, lambda it: nginx(it, folder / "nginx", provider), stack)
        arms.append(own)
        arms += optional("LiteLLM", litellm_python, lambda it: litellm(it, folder / "litellm", provider), stack)
        for arm in arms[1:]:
            check_same(arms[0], arm)
        quiet(one.child.pid)
        figures["rss_mb"] = resident_mb(one.child.pid)
        latency(arms, plan, figures)
        began, busy_s = time.perf_counter(), cpu_s(fake.pid)
        throughput(arms, plan, figures)
        figures["provider_busy"] = (cpu_s(fake.pid) - busy_s) / (time.perf_counter() - began)
        figures["rss_after_load_mb"] = resident_mb(one.child.pid)
        figures["records_lost"] = own.asked - kept(store)
        start(folder / "start", provider, plan, figures)
        memory_with_recall(folder / "recall", provider, plan, figures)
    return figures


def report(figures: Mapping[str, float]) -> None:
    """The figures beside their targets."""
    targets = {
        "added_p50_ms": "≤ 1", "added_first_byte_p50_ms": "", "json_per_cpu_s": "", "streams_per_cpu_s": "",
        "vs_nginx": "≤ 10", "streams_vs_nginx": "≤ 5", "streams_paced_vs_nginx": "", "vs_litellm": "≥ 40",
        "streams_vs_litellm": "", "ready_s": "≤ 1", "ready_cpu_s": "", "rss_mb": "≤ 80", "rss_after_load_mb": "",
        "rss_with_recall_mb": "≤ 200", "records_lost": "", "provider_busy": "",
    }  # fmt: skip
    rows = [(name, figures[name], target) for name, target in targets.items() if name in figures]
    _report.table("the gateway", rows, header=("figure", "measured", "target"))


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--nginx", metavar="PROGRAM", default=shutil.which("nginx"), help="default: as found")
    parser.add_argument("--litellm", metavar="PYTHON", help="the Python of an environment that has LiteLLM's proxy")
    args = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), QUICK if args.quick else FULL, args.nginx, args.litellm)
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f}")
    report(figures)
    _report.write("gateway", figures, args)


if __name__ == "__main__":
    main()
