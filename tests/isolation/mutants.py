"""Take away each predicate that says whose a row is, one at a time, and see whether anybody would notice.

The predicates are found in the statements that the store has run, not listed: every comparison of a line with the
parameters of a scope, of a row with a line of the scope, and the condition that a line is one of the scope's. A mutant
is the statement compiled without one of them, put where the store looks for what it has compiled; so it passes the
check of `scoped`, and only what the store then tells can give it away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, Delete, Exists, Insert, Select, Update, true
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.sql.selectable import CompoundSelect

from tokenspace.errors import TokenspaceError
from tokenspace.store import attempts, canaries, contexts, database, evidence, gateway, history, ledger, lines
from tokenspace.store.schema import branch
from tokenspace.store.scoped import EVERYWHERE, NAMES, OURS
from tokenspace.store.sql import SqlStore
from tokenspace.store.sqlite import SqliteHooks
from tokenspace.testing.isolation import BASE, NOBODY, OTHERS, READS, TENANT, USER, WRITES, all_of, answer, plant
from tokenspace.testing.samples import NOW

HEX = re.compile("[0-9a-f]{32}")
DIALECT = sqlite.dialect()
REAL = {name: vars(database.Cursor)[name] for name in ("rows", "row", "run")}
FEW = (BASE, TENANT, USER, *OTHERS)

# Statements on a line by its number, which no method lets a caller choose: asked here with the numbers of others' lines.
BY_LINE: dict[Any, dict[str, Any]] = {
    contexts.AT: {"seq": 1},
    contexts.LAYER: {"seq": 3},
    history.REVISIONS: {"low": 1, "high": 9},
    history.ENTRIES: {"low": 1, "high": 9},
    history.TOMBS: {"low": 1, "high": 9},
    ledger.MOVE_HEAD: {"expected": 1, "made": 1},
    ledger.END_ENTRY: {"was": 1, "what": bytes.fromhex("1" * 32), "made": None},
    ledger.END_TOMB: {"was": 3, "what": bytes.fromhex("1" * 32), "made": None},
}


@dataclass(kw_only=True)
class Tally:
    """How many mutants were made, and those that nothing gave away."""

    total: int = 0
    caught: int = 0
    missed: list[str] = field(default_factory=list[str])


def made_at_import() -> dict[str, Any]:
    """The statements of the modules that serve scopes, by module and name."""
    found: dict[str, Any] = {}
    for module in (attempts, canaries, contexts, evidence, gateway, history, ledger, lines):
        for name, value in vars(module).items():
            kept = vars(value).items() if type(value).__name__ == "_Kept" else ()
            for key, one in ((name, value), *((f"{name}.{key}", one) for key, one in kept)):
                if isinstance(one, (Select, CompoundSelect, Update, Delete, Insert)):
                    found[f"{module.__name__}.{key}"] = one
    return found


def predicates(statement: Any) -> list[Any]:
    """What in a statement says whose rows it means, each once."""
    found: dict[int, Any] = {}
    for part in visitors.iterate(statement):
        table = getattr(getattr(part, "left", None), "table", None)
        if isinstance(part, BinaryExpression) and table in OURS:
            name = part.left.name
            whose = table is branch and name in NAMES and _binds(part.right, name)
            line = name == ("id" if table is branch else "branch") and _binds(part.right, "line")
            served = table is not branch and name == "branch" and _binds(part.right, *NAMES)
            if whose or line or served:
                found[id(part)] = part
        elif isinstance(part, Exists) and _binds(part, *NAMES):
            found[id(part)] = part
    return list(found.values())


def _binds(clause: Any, *names: str) -> bool:
    bound = {part.key for part in visitors.iterate(clause) if isinstance(part, BindParameter)}
    return bound >= set(names)


def without(statement: Any, predicate: Any) -> Any:
    """The statement with a predicate that always holds in its place."""
    part = statement.select if isinstance(statement, Insert) else statement
    mutated = visitors.replacement_traverse(part, {}, lambda one: true() if one is predicate else None)
    if isinstance(statement, Insert):
        made = statement._generate()
        made.select = mutated
        return made
    return mutated


def mutants(directory: Path) -> Tally:
    """Every mutant of every statement, each against a store of its own, which must answer as one without it does."""
    make, tally = numbered(directory), Tally()
    run: dict[Any, None] = {}
    golden = list(transcript(make, run))
    assert golden == list(transcript(make)), "the store answers by chance"
    for statement in run:
        for predicate in predicates(statement):
            tally.total += 1
            if caught(make, golden, statement, predicate):
                tally.caught += 1
            else:
                tally.missed.append(f"{predicate} of {' '.join(str(statement).split())[:200]}")
    return tally


def numbered(directory: Path) -> Callable[..., SqlStore]:
    """Copies of one empty store, nothing in them sealed; made without a number, the newest of them is opened again."""
    first = directory / "first.db"
    SqlStore(SqliteHooks(first), clock=lambda: NOW).close()
    numbers = iter(range(1_000_000))
    newest = [first]

    def make(*, again: bool = False) -> SqlStore:
        if not again:
            newest[0] = directory / f"{next(numbers)}.db"
            newest[0].write_bytes(first.read_bytes())
        store = SqlStore(SqliteHooks(newest[0]), clock=lambda: NOW)
        hasty(store)
        return store

    return make


def hasty(store: Any) -> None:
    """Do not wait for the disk on the connection that a test uses."""
    with store.db.reading(EVERYWHERE) as cursor:
        cursor.text("PRAGMA synchronous = OFF")


def caught(make: Callable[..., SqlStore], golden: list[str], statement: Any, predicate: Any) -> bool:
    """Whether a store with this mutant gives itself away: by what it reads, tells or changes, or by failing."""
    key = ("sqlite", True, statement)
    kept = database.COMPILED[key]
    compiled = without(statement, predicate).compile(dialect=DIALECT)
    database.COMPILED[key] = (str(compiled), dict(compiled.params), list(compiled.positiontup))
    assert database.COMPILED[key][0] != kept[0], "nothing was taken away"
    try:
        return any(said != wanted for said, wanted in zip_longest(transcript(make), golden))
    except (TokenspaceError, AssertionError, LookupError, TypeError, ValueError, sqlite_error()):
        return True
    finally:
        database.COMPILED[key] = kept


def sqlite_error() -> type[Exception]:
    """The driver's root exception."""
    import pysqlite3.dbapi2

    return pysqlite3.dbapi2.Error


def transcript(make: Callable[..., SqlStore], run: dict[Any, None] | None = None) -> Iterator[str]:
    """What a store answers, and what its statements found or changed: of all methods, for six scopes and nobody.

    Statements that were run for a scope are put into `run`.
    """
    heard: list[str] = []
    store = make()
    with listening(heard, {} if run is None else run):
        planted = {scope: plant(store, scope) for scope in FEW}
        yield from told(heard)
        for scope in (*FEW, NOBODY):
            for call in READS.values():
                for it in planted.values():
                    yield named(answer(lambda: call(store, scope, it)))  # noqa: B023 - called at once
                    yield from told(heard)
        yield from foreign_lines(store)
        for name, call in WRITES.items():
            for scope in (USER, *OTHERS):
                yield f"{name} {named(answer(lambda: call(store, scope, planted[scope])))}"  # noqa: B023
                yield from told(heard)
        store.close()
        store = make(again=True)  # what it kept in memory of others is gone
        for scope in FEW:
            yield named(all_of(store, scope))
            yield from told(heard)
        yield from store.admin.verify()
        store.close()


def told(heard: list[str]) -> list[str]:
    """What was heard since it was last asked."""
    said = heard[:]
    heard.clear()
    return said


def named(words: str) -> str:
    """Ids that a store makes, by the order in which they are told."""
    names: dict[str, str] = {}
    return HEX.sub(lambda found: names.setdefault(found[0], f"id {len(names)}"), words)


@contextmanager
def listening(heard: list[str], ran: dict[Any, None]) -> Iterator[None]:
    """Hear how many rows each statement found or changed, and which numbers are in them; and which were run."""

    def rows(self: Any, statement: Any, **values: Any) -> list[Any]:
        ran.update({statement: None} if self._names else {})
        found = REAL["rows"](self, statement, **values)
        heard.append(f"{len(found)} {[[value for value in row if isinstance(value, int)] for row in found]}")
        return found

    def row(self: Any, statement: Any, **values: Any) -> Any:
        return next(iter(rows(self, statement, **values)), None)

    def run(self: Any, statement: Any, **values: Any) -> int:
        ran.update({statement: None} if self._names else {})
        changed = REAL["run"](self, statement, **values)
        heard.append(f"changed {changed}")
        return changed

    replaced = {"rows": rows, "row": row, "run": run}
    try:
        for name, one in replaced.items():
            setattr(database.Cursor, name, one)
        yield
    finally:
        for name in replaced:
            setattr(database.Cursor, name, REAL[name])


def foreign_lines(store: Any) -> Iterator[str]:
    """What statements read or change of a line of another scope when they are given its number: nothing."""
    for scope in (*FEW, NOBODY):
        lines = store.db.rows(EVERYWHERE, branch.select())
        foreign = [row[0] for row in lines if tuple(row[1:4]) != (scope.agent, scope.tenant, scope.user)]
        for statement, values in BY_LINE.items():
            for line in foreign:
                with store.db.writing(scope) as cursor:
                    if getattr(statement, "is_dml", False):
                        yield str(cursor.run(statement, line=line, **values))
                    else:
                        yield str(len(cursor.rows(statement, line=line, **values)))
