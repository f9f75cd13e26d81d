"""Where statements run: SQLAlchemy writes the SQL and manages the schema, the driver runs it.

A statement is compiled once for the dialect and executed on the driver's own cursor, which returns plain tuples: on
the hot path this costs a third of what a full SQLAlchemy execution does. Connections are in autocommit mode and
transactions are explicit, so both databases behave the same: a read of immutable rows needs no transaction, and a
write begins as a writer (`BEGIN IMMEDIATE` on SQLite: a read that becomes a write could fail half-way).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol

from sqlalchemy import ClauseElement, Connection, Engine, event

from tokenspace.errors import StoreUnavailable, TokenspaceError

Row = tuple[Any, ...]
Compiled = tuple[str, Mapping[str, Any], list[str] | None]
"""SQL, parameters that it has already, and the order of parameters if they go by position."""

MAX_IDLE: Final = 8
_COMPILED: Final[
    dict[tuple[str, ClauseElement], Compiled]
] = {}  # by dialect; statements are constants of their modules


class Hooks(Protocol):
    """What differs between databases."""

    begin: str
    """The statement that begins a write."""
    snapshot: str
    """The statement that begins a read of one consistent state."""
    one_writer: bool
    """Whether only one transaction at a time can write, so that threads had better queue for it here."""

    def engine(self) -> Engine:
        """Connections in autocommit mode, without a pool."""
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

    def after_load(self, connection: Connection) -> None:
        """Whatever the database needs after rows were inserted with their ids given."""
        ...


class Cursor:
    """Runs statements on one connection."""

    def __init__(self, raw: Any, compiled: Callable[[ClauseElement], Compiled]) -> None:
        self._cursor = raw.cursor()
        self._compiled = compiled

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
        sql, defaults, order = self._compiled(statement)
        rows = [{**defaults, **each} for each in values]
        if rows:
            self._cursor.executemany(sql, rows if order is None else [[row[name] for name in order] for row in rows])

    def _run(self, statement: ClauseElement, values: Mapping[str, Any]) -> Any:
        sql, defaults, order = self._compiled(statement)
        given = {**defaults, **values}
        self._cursor.execute(sql, given if order is None else [given[name] for name in order])
        return self._cursor

    def text(self, sql: str) -> None:
        """Execute a statement that controls a transaction."""
        self._cursor.execute(sql)


class Database:
    """One database with its open connections; safe to use from several threads."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.engine = hooks.engine()
        self._errors = hooks.errors()
        self._idle: deque[Any] = deque()
        self._writing: AbstractContextManager[Any] = threading.Lock() if hooks.one_writer else nullcontext()
        self._closed = False
        event.listen(self.engine, "begin", self._begin)

    def rows(self, statement: ClauseElement, **values: Any) -> list[Row]:
        """A read outside any transaction."""
        with self._connected() as cursor:
            return cursor.rows(statement, **values)

    def row(self, statement: ClauseElement, **values: Any) -> Row | None:
        """The first row of a read outside any transaction."""
        with self._connected() as cursor:
            return cursor.row(statement, **values)

    @contextmanager
    def reading(self) -> Generator[Cursor]:
        """Several reads on one connection, outside any transaction: of rows that never change."""
        with self._connected() as cursor:
            yield cursor

    @contextmanager
    def writing(self) -> Generator[Cursor]:
        """One short transaction: committed at the end of the block, rolled back if anything is raised in it."""
        with self._writing, self._in_place(), self._connected() as cursor:
            cursor.text(self.hooks.begin)
            try:
                yield cursor
            except TokenspaceError:
                cursor.text("ROLLBACK")
                raise
            cursor.text("COMMIT")

    @contextmanager
    def administering(self, *, snapshot: bool = False) -> Generator[Connection]:
        """A transaction on an ordinary SQLAlchemy connection of its own, for upkeep off the hot path."""
        with (
            self.translating(),
            self.engine.connect().execution_options(snapshot=snapshot) as connection,
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
            self._idle.pop().close()
        self.engine.dispose()

    def _explained(self, error: BaseException | None) -> TokenspaceError | None:
        return self.hooks.explain(error) if isinstance(error, Exception) else None

    @contextmanager
    def _connected(self) -> Generator[Cursor]:
        if self._closed:
            raise StoreUnavailable("the store is closed", hint="open it again with open_store")
        with self.translating():
            raw = self._take()
            try:
                yield Cursor(raw, self._compile)
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
            raw.close()

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self.engine.raw_connection()

    def _compile(self, statement: ClauseElement) -> Compiled:
        key = (self.engine.dialect.name, statement)
        known = _COMPILED.get(key)
        if known is None:
            compiled: Any = statement.compile(dialect=self.engine.dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            known = _COMPILED[key] = (str(compiled), dict(compiled.params), order)
        return known

    def _begin(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(self.hooks.snapshot if options.get("snapshot") else self.hooks.begin)
