"""What isolation costs, and whether it holds.

Cost: the same reads (`read`: heads, live canaries, context and blame; `uncached_read`: the shared layers as well;
`episodes`: the ten newest, of 2 KB) of the same users on one PostgreSQL server, in turns, by a store under row-level
security and by one without, which is a superuser's, among the lines of 10,000 other users. Each user is read by one
and at once by the other, which of them first being drawn; the figure is the median of the ratios of these neighbours,
less one, and that of the worst round, by read; the milliseconds are the last round's. Holding: planted strings and ids
that any method told to another user, another tenant or nobody (`hits`); random programs whose answers to A differ with
B's data (`differences`); scope predicates of the store that were taken away one by one, and how many of those the tests
noticed.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg

import _report
import sealing
import store as store_benchmark
from tokenspace.store import open_store
from tokenspace.store.sql import SqlStore
from tokenspace.testing.isolation import check_methods, interferences

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "isolation"))
from mutants import mutants

FILLER = """
    INSERT INTO tokenspace.branch (agent, tenant, "user", name, dropped, fork)
    SELECT 'desk', 'tenant-' || lpad((number % 20)::text, 3, '0'), 'visitor-' || number, '', 0, 0
    FROM generate_series(1, 10000) number"""
"""Users who came once and learned nothing: in a table of a hundred lines the server reads them all for every policy."""


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--users", type=int, help="how many users (default: 400, or 60 with --quick)")
    parser.add_argument("--programs", type=int, help="how many random programs (default: 2,000, or 200 with --quick)")
    args = parser.parse_args()
    users, programs = args.users or (60 if args.quick else 400), args.programs or (200 if args.quick else 2_000)
    figures: dict[str, float] = {}
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with store_benchmark.postgresql(directory) as url:
            figures.update(cost(url, users, rounds=3 if args.quick else 9))
            figures.update(holding(directory, url, programs))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _report.table("isolation", list(figures.items()), header=("figure", "value"))
    _report.write("isolation", figures, args)


# ── cost ────────────────────────────────────────────────────────────────────────────────────


def cost(url: str, users: int, *, rounds: int) -> dict[str, float]:
    """Ratios of a read with row-level security to one without, by kind of read."""
    loading = open_store(url)
    store_benchmark.load_shared(loading)
    store_benchmark.load(loading, users, "postgresql")
    for user in range(users):
        loading.record_all([sealing.an_episode(store_benchmark.scope_of(user)) for _ in range(10)], answers={})
    loading.close()
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(FILLER)
        owner.execute("INSERT INTO tokenspace.head SELECT id, 0 FROM tokenspace.branch ON CONFLICT DO NOTHING")
        owner.execute("VACUUM ANALYZE")
    stores = {"with": open_store(url), "without": unsecured(url)}
    chance = random.Random(3)
    ratios: dict[str, list[list[float]]] = {"read": [], "uncached_read": [], "episodes": []}
    medians: dict[str, float] = {}
    for number in range(rounds + 1):  # the first round warms: statements compiled, plans made, pages at hand
        times: dict[tuple[str, str], list[float]] = {}
        for user in chance.sample(range(users), min(users, 100)):
            for kind in ratios:
                for name in chance.sample(list(stores), 2):
                    times.setdefault((kind, name), []).append(seconds(stores[name], kind, user))
        for kind, found in ratios.items():
            pair = (times[kind, "with"], times[kind, "without"])
            with_, without = map(statistics.median, pair)
            medians |= {f"{kind}_with_ms": with_ * 1e3, f"{kind}_without_ms": without * 1e3}
            if number:
                found.append([one / other - 1 for one, other in zip(*pair, strict=True)])
    for one in stores.values():
        one.close()
    costs = {f"rls_cost_{kind}": statistics.median(chain(*found)) for kind, found in ratios.items()}
    worst = max(map(statistics.median, ratios["read"]))
    return {"rls_cost": costs["rls_cost_read"], "rls_cost_worst_round": worst, **costs, **medians, "rounds": rounds}


def unsecured(url: str) -> SqlStore:
    """The same database by a superuser whom no policy binds."""
    from datetime import UTC, datetime

    from sqlalchemy import make_url

    from tokenspace.store.postgresql import PostgresqlHooks

    return SqlStore(PostgresqlHooks(make_url(url), row_security=False), clock=lambda: datetime.now(UTC))


def seconds(store: Any, kind: str, user: int) -> float:
    """One read; every user's own layer is read from the database each time, shared ones at the first only."""
    scope = store_benchmark.scope_of(user)
    states = store._cache._states  # noqa: SLF001 - nobody else has reason to
    store._cache = type(store._cache)()  # noqa: SLF001
    for key, state in states.items():
        if kind != "uncached_read" and key[0] <= store_benchmark.TENANTS + 1:
            store._cache.put(key, state)  # noqa: SLF001
    store._found.clear()  # noqa: SLF001
    start = time.perf_counter()
    if kind == "episodes":
        store.episodes(scope, limit=10)
    else:
        store_benchmark.read(store, scope)
    return time.perf_counter() - start


# ── holding ─────────────────────────────────────────────────────────────────────────────────


def holding(directory: Path, url: str, programs: int) -> dict[str, float]:
    """Whether anything of another's is told, on all three stores, and whether a missing predicate would be noticed."""
    hits = calls = differences = 0
    numbers = iter(range(1_000_000))
    made = {
        "memory": lambda: open_store("memory:"),
        "sqlite": lambda: open_store(f"sqlite:///{directory}/{next(numbers)}.db"),
        "postgresql": lambda: open_store(new_database(url, f"isolation_{next(numbers)}")),
    }
    run = 0
    for name, make in made.items():
        found = check_methods(make)
        hits, calls = hits + len(found.hits), calls + found.calls
        some = programs if name != "postgresql" else max(1, programs // 10)
        differences += len(interferences(make, programs=some))
        run += some
        print(f"{name}: {found.calls} calls, {len(found.hits)} hits, {some} programs", file=sys.stderr, flush=True)
    caught = mutants(directory)
    print("\n".join(f"not caught: {one}" for one in caught.missed), file=sys.stderr)
    return {
        "hits": hits, "calls": calls, "programs": run, "differences": differences,
        "mutants_caught": caught.caught, "mutants": caught.total,
    }  # fmt: skip


def new_database(url: str, name: str) -> str:
    """The URL of a new, empty database on the same server."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?", 1)


if __name__ == "__main__":
    main()
