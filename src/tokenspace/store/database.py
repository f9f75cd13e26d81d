"""Where statements run: SQLAlchemy writes the SQL and manages the schema, the driver runs it.

A statement is compiled once for the dialect and executed on the driver's own cursor, which returns plain tuples: on
the hot path this costs a third of what a full SQLAlchemy execution does. Connections are in autocommit mode and
transactions are explicit, so both databases behave the same: a read of immutable rows needs no transaction, and a
write begins as a writer (`BEGIN IMMEDIATE` on SQLite: a read that becomes a write could fail half-way).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import Any, Final, Protocol

from sqlalchemy import ClauseElement, Connection, Engine, event

from tokenspace.domain import Scope
from tokenspace.errors import StoreUnavailable, TokenspaceError, UsageError
from tokenspace.store import sealing, steady
from tokenspace.store.scoped import EVERYWHERE, Reach, check, names_of

Row = tuple[Any, ...]
Compiled = tuple[str, Mapping[str, Any], list[str] | None]
"""SQL, parameters that it has already, and the order of parameters if they go by position."""

MAX_IDLE: Final = 8
COMPILED: Final[dict[tuple[str, bool, ClauseElement], Compiled]] = {}
"""By dialect and by whether it was checked to be scoped; statements are constants of their modules."""


class Hooks(Protocol):
    """What differs between databases."""

    begin: str
    """The statement that begins a write."""
    snapshot: str
    """The statement that begins a read of one consistent state."""
    owner: str
    """The statement that makes a transaction that of the tables' owner; empty where that needs none."""
    one_writer: bool
    """Whether only one transaction at a time can write, so that threads had better queue for it here."""

    def engine(self) -> Engine:
        """Connections in autocommit mode, without a pool."""
        ...

    def control(self, raw: Any, sql: str) -> None:
        """Run, on an open connection, what begins or ends a transaction or says whose it is."""
        ...

    def read(self, raw: Any, cursor: Any, reach: Reach, sql: str, values: Any) -> Any:
        """Execute a statement outside any transaction, for a scope where the database knows them.

        Returns what has the rows, as a cursor has them; None if that is the cursor.
        """
        ...

    def writing(self, reach: Reach | None) -> str:
        """What begins a write in a scope; None for one whose parts will each say their own."""
        ...

    def within(self, reach: Reach | None) -> str:
        """What changes the scope of an open transaction; empty where the database knows no scopes."""
        ...

    def secure(self, database: Database) -> None:
        """See that no scope can reach the rows of another. Raises `StoreUnavailable` where that cannot be had."""
        ...

    def errors(self) -> type[Exception]:
        """The root of the driver's exceptions."""
        ...

    def explain(self, error: Exception) -> TokenspaceError | None:
        """A driver's error in our words; None for one that only a defect of ours can cause."""
        ...

    def in_place(self) -> bool:
        """Whether open connections still lead to the database. Raises `StoreUnavailable` where there is none."""
        ...

    def lock_schema(self, connection: Connection) -> None:
        """Let only one process at a time create or migrate the schema, within the current transaction."""
        ...

    def lock(self, connection: Connection) -> None:
        """Let only one process at a time fill the store, within the current transaction."""
        ...

    def after_load(self, connection: Connection) -> None:
        """Whatever the database needs after rows were inserted with their ids given."""
        ...

    def scrub(self, database: Database, *, tables: Sequence[str] = ()) -> str:
        """Let nothing of deleted rows be left in files, as far as that can be had; returns what was done, in words.

        With `tables` only these have had any since the last time.
        """
        ...


class Cursor:
    """Runs statements on one connection, for one scope: it fills in the scope's names, and nobody else can."""

    def __init__(self, raw: Any, database: Database, reach: Reach, *, reading: bool = False) -> None:
        self.raw = raw
        self._cursor = raw.cursor()
        self._compiled = database.compiled
        self._read = database.hooks.read if reading else None
        self._control = database.hooks.control
        self._reach = reach
        self._names = names_of(reach)

    def of(self, layer: Scope) -> Cursor:
        """The same connection for a layer that is visible in this cursor's scope. Raises `UsageError` for another."""
        if layer == self._reach:
            return self
        if not isinstance(self._reach, Scope) or layer not in self._reach.layers:
            raise UsageError(f"{layer} is no layer of {self._reach}", hint="name the scope that it is a layer of")
        other = copy(self)
        other._names = names_of(layer)  # noqa: SLF001 - its own kind
        return other

    def rows(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """All rows, as the driver gives them."""
        return self._run(statement, values).fetchall()

    def row(self, statement: ClauseElement, **values: Any) -> Row | None:
        """The first row, if there is one."""
        return self._run(statement, values).fetchone()

    def run(self, statement: ClauseElement, **values: Any) -> int:
        """Execute; returns the number of rows changed."""
        return self._run(statement, values).rowcount

    def many(self, statement: ClauseElement, values: Iterable[Mapping[str, Any]]) -> None:
        """Execute once for each set of values."""
        sql, defaults, order = self._compiled(statement, bool(self._names))
        rows = [{**defaults, **each, **self._names} for each in values]
        if rows:
            self._cursor.executemany(sql, rows if order is None else [[row[name] for name in order] for row in rows])

    def _run(self, statement: ClauseElement, values: Mapping[str, Any]) -> Any:
        sql, defaults, order = self._compiled(statement, bool(self._names))
        given = {**defaults, **values, **self._names}  # its own names last: no caller can say others
        sent = given if order is None else [given[name] for name in order]
        if self._read is not None:
            return self._read(self.raw, self._cursor, self._reach, sql, sent) or self._cursor
        self._cursor.execute(sql, sent)
        return self._cursor

    def text(self, sql: str) -> None:
        """Execute a statement that changes a setting of the connection."""
        self._control(self.raw, sql)


class Database:
    """One database with its open connections; safe to use from several threads."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.engine = hooks.engine()
        self.seals = sealing.off()
        self._errors = hooks.errors()
        self._idle: deque[Any] = deque()
        self._writing: AbstractContextManager[Any] = threading.Lock() if hooks.one_writer else nullcontext()
        self._closed = False
        self._mine = threading.local()
        event.listen(self.engine, "begin", self._begin)

    def rows(self, reach: Reach, statement: ClauseElement, **values: Any) -> list[Row]:
        """A read of its own."""
        with self.reading(reach) as cursor:
            return cursor.rows(statement, **values)

    def row(self, reach: Reach, statement: ClauseElement, **values: Any) -> Row | None:
        """The first row of a read of its own."""
        with self.reading(reach) as cursor:
            return cursor.row(statement, **values)

    @contextmanager
    def reading(self, reach: Reach) -> Generator[Cursor]:
        """Several reads on one connection: of rows that never change, so they need not be of one moment."""
        with self._connected(reach, reading=True) as cursor:
            yield cursor

    @contextmanager
    def together(self) -> Generator[None]:
        """Everything that this thread writes within the block, of any scopes, in one short transaction."""
        if getattr(self._mine, "cursor", None) is not None:
            yield
            return
        with self._transaction(None) as cursor:
            self._mine.cursor, self._mine.reach = cursor, None
            try:
                yield
            finally:
                self._mine.cursor = None

    @contextmanager
    def writing(self, reach: Reach) -> Generator[Cursor]:
        """One short transaction: committed at the end of the block, rolled back if anything is raised in it.

        Raises `Forgotten` for a task whose ground is not steady any more (see `steady`).
        """
        names_of(reach)  # a scope, or an operator's word, before anything else
        outer: Cursor | None = getattr(self._mine, "cursor", None)
        if outer is None:
            with self._transaction(reach) as cursor:
                self._steady(cursor, reach)
                yield cursor
            return
        before: Reach | None = self._mine.reach
        self._enter(outer.raw, reach)
        try:
            cursor = Cursor(outer.raw, self, reach)
            self._steady(cursor, reach)
            yield cursor
        except TokenspaceError:
            self._enter(outer.raw, before)
            raise
        self._enter(outer.raw, before)

    def _steady(self, cursor: Cursor, reach: Reach) -> None:
        steady.check(self, reach, lambda: steady.mark_of(cursor))

    def _enter(self, raw: Any, reach: Reach | None) -> None:
        """Within this thread's open transaction, change whose it is."""
        self._mine.reach = reach
        if words := self.hooks.within(reach):
            self.hooks.control(raw, words)

    @contextmanager
    def _transaction(self, reach: Reach | None) -> Generator[Cursor]:
        with self._writing, self._in_place(), self._connected(reach or EVERYWHERE) as cursor:
            self.hooks.control(cursor.raw, self.hooks.writing(reach))
            try:
                yield cursor
            except TokenspaceError:
                self.hooks.control(cursor.raw, "ROLLBACK")
                raise
            self.hooks.control(cursor.raw, "COMMIT")

    def compiled(self, statement: ClauseElement, scoped: bool = True) -> Compiled:
        """A statement as the driver takes it. One for a scope is checked first: `UsageError` if it names none."""
        key = (self.engine.dialect.name, scoped, statement)
        known = COMPILED.get(key)
        if known is None:
            if scoped:
                check(statement)
            compiled: Any = statement.compile(dialect=self.engine.dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            known = COMPILED[key] = (str(compiled), dict(compiled.params), order)
        return known

    @contextmanager
    def administering(self, *, snapshot: bool = False, owner: bool = False) -> Generator[Connection]:
        """A transaction on an ordinary SQLAlchemy connection of its own, for upkeep off the hot path, of all scopes.

        As the `owner` of the tables it may change the schema, and sees no rows where the owner is bound by policies.
        """
        with (
            self.translating(),
            self.engine.connect().execution_options(snapshot=snapshot, owner=owner) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def translating(self) -> Generator[None]:
        """Driver errors become ours, with a hint."""
        from sqlalchemy.exc import DBAPIError

        try:
            yield
        except DBAPIError as error:
            raise (self._explained(error.orig) or error) from error
        except self._errors as error:
            raise (self._explained(error) or error) from error

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        while self._idle:
            self._idle.pop().invalidate()  # no last words: nothing is open on it that anybody waits for
        self.engine.dispose()

    def _explained(self, error: BaseException | None) -> TokenspaceError | None:
        return self.hooks.explain(error) if isinstance(error, Exception) else None

    @contextmanager
    def _connected(self, reach: Reach, *, reading: bool = False) -> Generator[Cursor]:
        if self._closed:
            raise StoreUnavailable("the store is closed", hint="open it again with open_store")
        with self.translating():
            raw = self._take()
            try:
                yield Cursor(raw, self, reach, reading=reading)
            except TokenspaceError:
                self._keep(raw)
                raise
            except BaseException:
                raw.invalidate()  # rolls back, and whatever state it was in is gone with it
                raise
        self._keep(raw)

    @contextmanager
    def _in_place(self) -> Generator[None]:
        """What is written to a file that was deleted or replaced would be gone with the last connection to it."""
        if not self._closed and not self.hooks.in_place():
            while self._idle:
                self._idle.pop().close()
        yield

    def _keep(self, raw: Any) -> None:
        if len(self._idle) < MAX_IDLE and not self._closed:
            self._idle.append(raw)
        else:
            raw.invalidate()

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.engine.raw_connection()

    def _begin(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(self.hooks.snapshot if options.get("snapshot") else self.hooks.begin)
        if words := self.hooks.owner if options.get("owner") else self.hooks.within(EVERYWHERE):
            self.hooks.control(connection.connection, words)
