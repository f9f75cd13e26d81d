"""The one way to rows that belong to somebody: predicates that say whose, and a check that every statement has one.

A statement names no scope itself: its predicates hold the parameters `agent`, `tenant` and `user`, and only a cursor,
which cannot be had without a scope, fills them in. `check` reads a statement before it is compiled: one that touches
such a table without a predicate from here is refused, whatever the database. So on SQLite, which knows no row-level
security, no query is ever filtered afterwards (I8); on PostgreSQL the policies of `rowlevel` say the same once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Delete,
    Exists,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    exists,
    literal_column,
    select,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, TextClause
from sqlalchemy.sql.selectable import Join, ScalarSelect

from tokenspace.domain import Scope
from tokenspace.errors import UsageError
from tokenspace.store.border import check_scope
from tokenspace.store.schema import branch, metadata


class Everywhere:
    """What an operator's verbs pass instead of a scope; only the modules of operators may import `EVERYWHERE`."""

    def __repr__(self) -> str:
        return "EVERYWHERE"


EVERYWHERE: Final = Everywhere()
Reach = Scope | Everywhere

NAMES: Final = ("agent", "tenant", "user")
OURS: Final = frozenset(table for table in metadata.tables.values() if table is branch or "branch" in table.c)
"""Tables whose rows belong to scopes."""

_EMPTY: Final[ColumnElement[str]] = literal_column("''")

HERE: Final = and_(*(branch.c[part] == bindparam(part) for part in NAMES))
"""The lines of exactly this scope."""

VISIBLE: Final = and_(
    branch.c.agent == bindparam("agent"),
    branch.c.tenant.in_([_EMPTY, bindparam("tenant")]),
    branch.c.user.in_([_EMPTY, bindparam("user")]),
    branch.c.name == _EMPTY,
)
"""The served lines of the layers that are visible in a scope (a user always has a tenant)."""

NAMED: Final = and_(HERE, branch.c.name == bindparam("name"), branch.c.dropped == literal_column("0"))
"""The line of exactly this scope that has a name; the served one is named ''."""

SERVED_LINE: Final = (
    select(branch.c.id).where(HERE, branch.c.name == _EMPTY, branch.c.dropped == literal_column("0")).scalar_subquery()
)


def own(table: Table) -> ColumnElement[bool]:
    """The rows that hang on the served line of exactly this scope: its evidence, and the memory of its gate."""
    return table.c.branch == SERVED_LINE


def on_line(table: Table) -> ColumnElement[bool]:
    """The rows of the line whose id is `line`, if it is one of exactly this scope."""
    mine = exists().where(branch.c.id == bindparam("line"), HERE)
    return and_(table.c.branch == bindparam("line"), mine)


def names_of(reach: Reach) -> dict[str, str]:
    """What a cursor fills in. Raises `UsageError` for anything but a scope, however much it looks like one."""
    if isinstance(reach, Everywhere):
        return {}
    check_scope(reach)
    return {"agent": reach.agent, "tenant": reach.tenant, "user": reach.user}


# ── the check ───────────────────────────────────────────────────────────────────────────────


def check(statement: ClauseElement) -> None:
    """Raises `UsageError` for a statement that reads or changes rows of scopes without saying whose.

    Every SELECT, UPDATE and DELETE in it counts, nested ones too. An INSERT of values has nobody's rows to find: where
    they go is said by the id of a line that was opened for the scope, and PostgreSQL checks it besides.
    """
    for each in visitors.iterate(statement):
        part: Any = each
        if isinstance(part, TextClause):
            raise _unscoped("a statement in words", str(part))
        if isinstance(part, (Select, Update, Delete)):
            froms: Any = part.get_final_froms() if isinstance(part, Select) else [part.table]  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType, reportUnknownVariableType] # of whatever columns
            tables, conditions = _joined(froms)
            missing = tables & OURS - _covered(tables, [*conditions, *_parts(part.whereclause)])
            if missing:
                raise _unscoped(", ".join(sorted(table.name for table in missing)), str(part))  # pyright: ignore[reportUnknownArgumentType] # of whatever columns


def _unscoped(what: str, sql: str) -> UsageError:
    return UsageError(f"no scope for {what}: {' '.join(sql.split())[:200]}", hint="use a predicate of store/scoped.py")


def _joined(froms: Any) -> tuple[set[Table], list[ColumnElement[Any]]]:
    """The tables of a FROM, and what their joins say."""
    tables: set[Table] = set()
    conditions: list[ColumnElement[Any]] = []
    for each in froms:
        for found in visitors.iterate(each):
            part: Any = found
            if isinstance(part, Table):
                tables.add(part)  # pyright: ignore[reportUnknownArgumentType] # of whatever columns
            elif isinstance(part, Join) and part.onclause is not None:
                conditions += _parts(part.onclause)
    return tables, conditions


def _parts(clause: Any) -> Iterator[ColumnElement[Any]]:
    """What holds together: the conditions of an AND, however deep; nothing inside an OR counts."""
    if isinstance(clause, BooleanClauseList) and getattr(clause.operator, "__name__", "") == "and_":
        for each in clause.clauses:
            yield from _parts(each)
    elif clause is not None:
        yield getattr(clause, "element", clause) if type(clause).__name__ == "Grouping" else clause


def _covered(tables: set[Table], conditions: list[ColumnElement[Any]]) -> set[Table]:
    """The tables whose rows are limited to the scope, directly or through a join on their line."""
    covered: set[Table] = set()
    proven = any(isinstance(each, Exists) and _names_a_scope(each) for each in conditions)
    pairs = [(one.left, one.right) for one in conditions if isinstance(one, BinaryExpression)]
    if _names_all(pairs):
        covered.add(branch)
    for left, right in pairs:
        line = isinstance(right, BindParameter) and right.key == "line" and proven
        if _is_line(left) and (line or (isinstance(right, ScalarSelect) and _names_a_scope(right))):
            covered.add(left.table)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] # a column
    for _ in tables:  # at most so many joins
        for left, right in pairs:
            if _is_line(left) and _is_line(right):
                ends: set[Any] = {getattr(left, "table", None), getattr(right, "table", None)}
                covered |= ends if ends & covered else set()
    return covered


def _is_line(column: Any) -> bool:
    table = getattr(column, "table", None)
    return table in OURS and column is (table.c.id if table is branch else table.c.branch)


def _names_a_scope(clause: ClauseElement) -> bool:
    """Whether a nested SELECT is one of lines; that it names the scope is checked when it is reached itself."""
    return any(part is branch for part in visitors.iterate(clause))


def _names_all(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether agent, tenant and user of a line are each compared with the parameter of that name."""
    compared = {
        left.name
        for left, right in pairs
        if getattr(left, "table", None) is branch
        and any(isinstance(part, BindParameter) and part.key == left.name for part in visitors.iterate(right))
    }
    return compared >= set(NAMES)
