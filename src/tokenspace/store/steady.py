"""Steady ground: who reads for long and then writes what came of it is refused once something was erased meanwhile.

What a learner has read is in its proposal, and no store can take it out of there. So it reads and writes within
`Store.steady`; a mark says how often the scope had lost text when that began, and each write compares it in its own
transaction. Erasing in a layer cuts all scopes below it, too, so the scope's own line tells. The mark goes with the
task: to whatever it calls, and to threads that are begun with `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, literal_column, select

from tokenspace.domain import Scope
from tokenspace.domain.erasure import Cut, Lineage, Rebuilt
from tokenspace.errors import Forgotten, StaleHead
from tokenspace.store.schema import branch, head
from tokenspace.store.scoped import NAMED

if TYPE_CHECKING:
    from tokenspace.store.database import Cursor

Mark = tuple[int, int]
"""The scope's served line, whose number never comes again, and how often text of it was erased."""

# Erasing counts on the head's row before it deletes: so one of the two waits for the other.
MARK: Final = (
    select(branch.c.id, func.coalesce(head.c.erasures, literal_column("0")))
    .join_from(branch, head, head.c.branch == branch.c.id)
    .where(NAMED)
    .with_for_update(of=head)
)

_MARKS: Final[ContextVar[Mapping[tuple[int, Scope], Mark]]] = ContextVar(
    "tokenspace_marks", default=MappingProxyType({})
)


@contextmanager
def held(owner: object, scope: Scope, mark: Mark) -> Generator[Mark]:
    """Compare with this mark within the block; one that an outer block holds stays, for what was read under it."""
    marks = {(id(owner), scope): mark, **_MARKS.get()}
    token = _MARKS.set(marks)
    try:
        yield marks[id(owner), scope]
    finally:
        _MARKS.reset(token)


def check(owner: object, scope: object, now: Callable[[], Mark | None]) -> None:
    """Raises `Forgotten` where the scope's mark is not what it was when this task's block began."""
    marks = _MARKS.get()
    if marks and isinstance(scope, Scope):
        mark = marks.get((id(owner), scope))
        if mark is not None and now() != mark:
            raise Forgotten(f"something of {scope} was erased meanwhile", hint="read what is left, and begin anew")


def mark_of(cursor: Cursor) -> Mark | None:
    """The mark of the cursor's scope as it stands; None where nobody has written to it."""
    row = cursor.row(MARK, name="")
    return None if row is None else (row[0], row[1])


def overtaken(
    cuts: Sequence[Cut], rebuilt: Sequence[Rebuilt], seen: Mapping[Scope, Lineage], now: Callable[[Scope], Lineage]
) -> None:
    """Raises `StaleHead` where something that nobody had seen hangs on what is to go: then look again what does.

    `now` are the lineages as they stand, read where nobody else can write. In a scope whose history is replaced,
    anything new counts.
    """
    gone, told = _gone(cuts, seen), {one.scope for one in rebuilt}
    whole = {cut.scope for cut in cuts if cut.whole}
    for scope in sorted(seen.keys() - whole):
        new = _new(seen[scope], now(scope))
        if any(scope in told or not gone.isdisjoint(ids) for ids in new):
            raise StaleHead(f"something in {scope} was made of it meanwhile", hint="look again what hangs on it")


def _gone(cuts: Sequence[Cut], seen: Mapping[Scope, Lineage]) -> frozenset[str]:
    """Every id that goes, those of attempts and entries included."""
    found = set[str]()
    for cut in cuts:
        room = seen.get(cut.scope, Lineage(scope=cut.scope))
        found.update(cut.blank, *cut.gone.values())
        for made in room.written:
            found |= {made.id, *made.puts} if cut.whole or made.id in cut.blank else set()
        for one in room.tried:
            found |= {one.id, one.key} if cut.whole or one.key in cut.gone.get("attempt", ()) else set()
        found.update(*((room.episodes, room.feedback, room.cases) if cut.whole else ()))
    return frozenset(found)


def _new(seen: Lineage, now: Lineage) -> Iterator[frozenset[str]]:
    """What each thing that has come to a scope since rests on."""
    written, tried = {one.id for one in seen.written}, {(one.key, one.at) for one in seen.tried}
    yield from (one.sources | one.cases | one.puts for one in now.written if one.id not in written)
    yield from (one.sources | one.cases for one in now.tried if (one.key, one.at) not in tried)
    yield from (frozenset({about}) for id, (about, _) in now.feedback.items() if id not in seen.feedback)
