"""What it costs to seal what users say: each operation of a store with keys over the same of one without.

Two stores of the same kind hold the same rows; operations on them alternate, in an order drawn anew each time, so that
noise hits both; the figure is the median of the ratios of neighbours, less one, over all rounds but the first. Reads,
which are short, are done ten times as often. Episodes of about 2 KB (a question, some context, an answer) are written
durably one by one (`write`) and 50 in a transaction (`batch`), and read ten at a time (`read`), by users who each have
an own key; most of the time their keys are at hand. `sealing_cost` is the worst of these three. Their users have more
episodes with each round, in the end 1,500, which the database looks through for the newest ten. `read_few` reads ten of
users who have twenty: sealing weighs most there, and `read_few_us_per_episode` says what it adds, in microseconds.
`first_ms` is what a new user's key costs once. `plain_traces` counts canaries in the files of the sealed SQLite store,
and in a copy of it after the keys were destroyed; `readable_after` what can still be read of that copy.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _report
import store as store_benchmark
from tokenspace.domain import Episode, Feedback, Heads, Message, Outcome, Request, Run, Scope, Signal
from tokenspace.store import open_store

CANARY = "canary-5b1f0e"
BYTES = 2_000
AT = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("write", "batch", "read", "read_few", "write_feedback", "read_feedback", "outcome")


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument(
        "--turns", type=int, help="operations of each kind in a round (default: 60, or 20 with --quick)"
    )
    parser.add_argument("--rounds", type=int, help="how many rounds count (default: 9, or 4 with --quick)")
    args = parser.parse_args()
    turns, rounds = args.turns or (20 if args.quick else 60), args.rounds or (4 if args.quick else 9)
    figures: dict[str, float] = {"episode_bytes": BYTES, "turns": turns, "rounds": rounds}
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        urls = {name: f"sqlite:///{directory}/{name}.db" for name in ("sealed", "plain")}
        figures |= measure(directory, urls, turns, rounds, "")
        with store_benchmark.postgresql(directory) as url:
            pair = {name: database(url, name) for name in ("sealed", "plain")}
            figures |= measure(directory, pair, turns, rounds, "postgresql_")
        figures |= destroyed(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _report.table("sealing", list(figures.items()), header=("figure", "value"))
    _report.write("sealing", figures, args)


def database(url: str, name: str) -> str:
    """A new database of the server."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?", 1)


# ── cost ────────────────────────────────────────────────────────────────────────────────────


def measure(directory: Path, urls: dict[str, str], turns: int, rounds: int, prefix: str) -> dict[str, float]:
    stores: dict[str, Any] = {
        name: open_store(url, keys=directory / f"{prefix}keys" if name == "sealed" else "off")
        for name, url in urls.items()
    }
    users, readers = ([scope_of(start + number) for number in range(20)] for start in (0, 2_000))
    for name in ("plain", "sealed"):
        for user in (*users, *readers):
            stores[name].record_all([an_episode(user) for _ in range(20)], answers={})
            for _ in range(10):
                stores[name].add_feedback(a_word(user), None)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    medians: dict[str, float] = {}
    chance = random.Random(1)
    for number in range(rounds + 1):  # the first round warms: statements compiled, keys read, pages at hand
        for kind in KINDS:
            times: dict[str, list[float]] = {name: [] for name in stores}
            for _ in range(turns * 10 if "read" in kind else turns):
                user = chance.choice(readers if kind == "read_few" else users)
                for name in chance.sample(list(stores), 2):
                    times[name].append(seconds(stores[name], kind, user))
            sealed, plain = statistics.median(times["sealed"]), statistics.median(times["plain"])
            medians |= {f"{prefix}{kind}_sealed_ms": sealed * 1e3, f"{prefix}{kind}_plain_ms": plain * 1e3}
            if number:
                pairs = zip(times["sealed"], times["plain"], strict=True)
                found[kind] += [with_keys / without - 1 for with_keys, without in pairs]
    first = statistics.median(
        seconds(stores["sealed"], "write", scope_of(1_000 + n)) - seconds(stores["plain"], "write", scope_of(1_000 + n))
        for n in range(10)
    )
    for one in stores.values():
        one.close()
    costs = {f"{prefix}sealing_cost_{kind}": statistics.median(ratios) for kind, ratios in found.items()}
    episodes = max(costs[f"{prefix}sealing_cost_{kind}"] for kind in ("write", "batch", "read"))
    few = (medians[f"{prefix}read_few_sealed_ms"] - medians[f"{prefix}read_few_plain_ms"]) * 1e3 / 10
    return {
        f"{prefix}sealing_cost": episodes, **costs, f"{prefix}read_few_us_per_episode": few, **medians,
        f"{prefix}first_ms": first * 1e3,
    }  # fmt: skip


def seconds(store: Any, kind: str, user: Scope) -> float:
    """One operation; what it works on is made before."""
    doing: Callable[[], object]
    if kind == "write":
        one = an_episode(user)
        doing = lambda: store.record(one)  # noqa: E731
    elif kind == "batch":
        many = [an_episode(user) for _ in range(50)]
        doing = lambda: store.record_all(many, answers={})  # noqa: E731
    elif kind in {"read", "read_few"}:
        doing = lambda: store.episodes(user, limit=10)  # noqa: E731
    elif kind == "write_feedback":
        said = a_word(user)
        doing = lambda: store.add_feedback(said, None)  # noqa: E731
    elif kind == "read_feedback":
        doing = lambda: store.feedback(user)  # noqa: E731
    else:
        done = Outcome(key=an_episode(user).id, case="c", run=Run(output="yes"))
        doing = lambda: (store.save_outcome(user, done), store.outcome(user, done.key))  # noqa: E731
    start = time.perf_counter()
    doing()
    return time.perf_counter() - start


def scope_of(number: int) -> Scope:
    return Scope(agent="desk", tenant="acme", user=f"user-{number:04}")


_CHANCE = random.Random(7)


def an_episode(scope: Scope) -> Episode:
    parts = [store_benchmark.sentence(_CHANCE, size) for size in (BYTES * 6 // 10, BYTES * 2 // 10, BYTES * 2 // 10)]
    messages = tuple(Message(role=role, text=f"{CANARY} {text}") for role, text in zip(("system", "user"), parts))  # noqa: B905
    return Episode(scope=scope, heads=Heads(), request=Request(messages=messages), run=Run(output=parts[2]), at=AT)


def a_word(scope: Scope) -> Feedback:
    said = f"{CANARY} {store_benchmark.sentence(_CHANCE, 120)}"
    return Feedback(scope=scope, episode="e", principal="p", signal=Signal.TEXT, value=said, at=AT)


# ── destroying ──────────────────────────────────────────────────────────────────────────────


def destroyed(directory: Path) -> dict[str, float]:
    """A copy of the sealed SQLite store, before and after the keys go."""
    shutil.copy(directory / "sealed.db", directory / "copy.db")
    keys = directory / "keys"
    users = [scope_of(number) for number in range(20)]
    copy = open_store(f"sqlite:///{directory}/copy.db", keys=keys)
    before = sum(len(copy.episodes(user)) for user in users)
    start = time.perf_counter()
    for user in users:
        copy.db.seals.destroy(user)
    took = (time.perf_counter() - start) / len(users)
    after = sum(len(copy.episodes(user)) for user in users)
    copy.close()
    files = [*directory.glob("sealed.db*"), *directory.glob("copy.db*")]
    traces = sum(path.read_bytes().count(CANARY.encode()) for path in files)
    control = (directory / "plain.db").read_bytes().count(CANARY.encode())
    return {
        "readable_before": before, "readable_after": after, "destroy_ms": took * 1e3, "plain_traces": traces,
        "plain_traces_control": control,
    }  # fmt: skip


if __name__ == "__main__":
    main()
