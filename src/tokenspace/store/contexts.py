"""Reading: what is served, the context at any heads, and where its lines come from.

What a layer holds at a revision never changes, so it is read once and kept in a small cache (see `states`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Select, and_, bindparam, literal_column, null, or_, select, union_all
from sqlalchemy.sql.elements import ColumnElement

from tokenspace.domain import Blame, Context, Heads, Scope
from tokenspace.errors import NotFound
from tokenspace.store import codec
from tokenspace.store.chain import ENTRY_FIELDS
from tokenspace.store.codec import BASES, pack_id, unpack_ids, unpack_time
from tokenspace.store.database import Cursor, Database
from tokenspace.store.names import Names
from tokenspace.store.schema import branch, entry, head, revision, tomb, vector
from tokenspace.store.scoped import HERE, NAMED, VISIBLE, on_line
from tokenspace.store.states import EMPTY, MAX_CACHED_ENTRIES, Cache, State, read_state

# ── statements ──────────────────────────────────────────────────────────────────────────────

ENTRY_COLUMNS: Final[list[Column[Any]]] = [entry.c[field] for field in ENTRY_FIELDS]
_LINE: Final = [branch.c.parent, branch.c.fork, branch.c.name]
LINE: Final = [branch.c.id, head.c.seq, revision.c.uid, revision.c.chain, *_LINE]


def at_head(chosen: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Lines with their heads and, unless nothing was committed to them, the head's revision."""
    return (
        chosen.select_from(branch)
        .join(head, head.c.branch == branch.c.id)
        .outerjoin(revision, and_(revision.c.branch == branch.c.id, revision.c.seq == head.c.seq))
    )


SERVED: Final = at_head(select(head.c.erasures, branch.c.tenant, branch.c.user, *LINE)).where(VISIBLE)

ONE_LINE: Final = at_head(select(*LINE)).where(NAMED)

AT: Final = select(revision.c.uid, revision.c.chain).where(on_line(revision), revision.c.seq == bindparam("seq"))

FIND: Final = (
    select(branch.c.id, revision.c.seq, revision.c.uid, revision.c.chain, *_LINE)
    .join_from(revision, branch, branch.c.id == revision.c.branch)
    .where(revision.c.uid == bindparam("uid"), HERE)
)


def _alive(table: Any) -> ColumnElement[bool]:
    died = or_(table.c.died.is_(None), table.c.died > bindparam("seq"))
    return and_(on_line(table), table.c.born <= bindparam("seq"), died)


_SAME = and_(vector.c.branch == entry.c.branch, vector.c.born == entry.c.born, vector.c.id == entry.c.id)
_NOTHING = [null() for _ in ENTRY_COLUMNS[2:]]

LAYER: Final = union_all(
    select(
        *ENTRY_COLUMNS,
        entry.c.born,
        revision.c.uid,
        revision.c.author,
        revision.c.at,
        revision.c.basis,
        revision.c.evidence,
        vector.c.data,
        literal_column("0"),
    )
    .join_from(entry, revision, and_(revision.c.branch == entry.c.branch, revision.c.seq == entry.c.born))
    .outerjoin(vector, _SAME)
    .where(_alive(entry)),
    select(tomb.c.id, tomb.c.effect, *_NOTHING, tomb.c.born, *[null() for _ in range(6)], literal_column("1")).where(
        _alive(tomb)
    ),
)


# ── reading ─────────────────────────────────────────────────────────────────────────────────


class Place(NamedTuple):
    """A revision on its line: `seq` 0 and no `uid` where nothing was committed. A fork began at `fork` of `parent`."""

    branch: int
    seq: int
    uid: bytes | None
    chain: bytes | None
    parent: int | None
    fork: int
    name: str


class Reading:
    """The reading half of `SqlStore`."""

    db: Database

    def __init__(self, db: Database) -> None:
        self.db = db
        self._cache = Cache()
        self._names = Names()
        self._found: OrderedDict[tuple[Scope, str], Place] = OrderedDict()
        self._known: dict[Scope, tuple[int, int]] = {}

    def heads(self, scope: Scope, *, branch: str = "") -> Heads:
        """What is served in this scope; with a branch name, its head replaces that of the scope's own layer."""
        with self.db.reading(scope) as cursor:
            places = self._served(cursor, scope)
            if branch:
                places[scope] = self._named(cursor, scope, branch)
        uids = [hex_id(places.get(layer)) for layer in scope.layers]
        return Heads(**dict(zip(("base", "tenant", "user"), uids, strict=False)))

    def context(self, scope: Scope, heads: Heads) -> Context:
        """The context at any heads of this scope, past ones included, with the vectors of its entries."""
        states = self._states(scope, heads)
        vectors: dict[str, bytes] = {}
        for state in states:
            if vectors:
                for id in (*state.layer.own, *state.layer.hidden):
                    vectors.pop(id, None)
            vectors.update(state.vectors)
        layers = tuple(state.layer for state in states)
        return Context(scope=scope, heads=heads, layers=layers, vectors=MappingProxyType(vectors))

    def blame(self, scope: Scope, heads: Heads) -> Mapping[str, Blame]:
        """Where each visible entry comes from, by entry id."""
        blames: dict[str, Blame] = {}
        for layer, state in zip(scope.layers, self._states(scope, heads), strict=True):
            for hidden in state.layer.hidden:
                blames.pop(hidden, None)
            blames.update(self._blames(layer, state))
        return blames

    # ── inside ──────────────────────────────────────────────────────────────────────────────

    def _blames(self, layer: Scope, state: State) -> Mapping[str, Blame]:
        """The blame of a layer's own entries, made once for each state."""
        if len(state.blames) < len(state.wrote):
            with self.db.reading(layer) as cursor:
                for id, wrote in state.wrote.items():
                    state.blames[id] = Blame(
                        entry=id,
                        scope=layer,
                        revision=wrote.uid.hex(),
                        author=self._names.text(cursor, wrote.author),
                        at=unpack_time(wrote.at),
                        decision_basis=BASES[wrote.basis],
                        sources=unpack_ids(wrote.evidence),
                    )
        return state.blames

    def _states(self, scope: Scope, heads: Heads) -> list[State]:
        layers = scope.layers
        if any(heads.ids[len(layers) :]):
            raise NotFound(f"these heads are not of {scope}", hint="use the heads of this scope")
        with self.db.reading(scope) as cursor:
            self._served(cursor, scope)  # what was erased meanwhile is remembered no longer
            return [
                EMPTY if uid is None else self._state(cursor.of(layer), self._find(cursor, layer, uid))
                for layer, uid in zip(layers, heads.ids, strict=False)
            ]

    def _served(self, cursor: Cursor, scope: Scope) -> dict[Scope, Place]:
        """The served lines of the scope's layers; those that nobody has written to are missing."""
        rows = cursor.rows(SERVED)
        counted = {(tenant, user): (place[0], count or 0) for count, tenant, user, *place in rows}
        self._keep_up({layer: counted.get((layer.tenant, layer.user), (0, 0)) for layer in scope.layers})
        by_name = {(tenant, user): Place(*place) for _, tenant, user, *place in rows}
        places = {layer: by_name[names] for layer in scope.layers if (names := (layer.tenant, layer.user)) in by_name}
        for layer, place in places.items():
            self._remember(layer, place)
        return places

    def _keep_up(self, found: Mapping[Scope, tuple[int, int]]) -> None:
        """Where text was erased from a layer, by whatever process, nothing that was read before is remembered.

        `found` are the line of each layer, 0 for none, and how often text was erased from it. A line that is gone was
        erased as a whole, and one begun since has another number.
        """
        known = self._known
        if any(known.get(layer, (now[0], 0)) != now for layer, now in found.items()):
            self._cache, self._names, self._found = Cache(), Names(), OrderedDict()
            codec.forget()
        for layer, now in found.items():
            if now[0]:
                known[layer] = now
            else:
                known.pop(layer, None)

    def _named(self, cursor: Cursor, scope: Scope, name: str) -> Place:
        """A named branch of the scope's own layer. Raises `NotFound`."""
        row = cursor.row(ONE_LINE, name=name)
        if row is None:
            raise NotFound(f"{scope} has no branch {name!r}", hint="list the branches, or create this one first")
        return self._begun(cursor, Place(*row))

    def _begun(self, cursor: Cursor, place: Place) -> Place:
        """A fork that nothing was committed to has the head that it began with."""
        if place.uid is not None or place.parent is None:
            return place
        uid, chain = cursor.row(AT, line=place.parent, seq=place.fork) or (None, None)
        return place._replace(uid=uid, chain=chain)

    def _find(self, cursor: Cursor, layer: Scope, uid: str) -> Place:
        """A revision of exactly this layer. Raises `NotFound`."""
        known = self._found.get((layer, uid))
        if known is None:
            row = cursor.of(layer).row(FIND, uid=pack_id(uid))
            if row is None:
                raise NotFound(f"{layer} has no revision {uid}", hint="list its revisions with log")
            known = self._remember(layer, Place(*row))
        return known

    def _remember(self, layer: Scope, place: Place) -> Place:
        if place.uid is not None:
            self._found[layer, place.uid.hex()] = place
            if len(self._found) > MAX_CACHED_ENTRIES:
                self._found.popitem(last=False)
        return place

    def _state(self, cursor: Cursor, place: Place) -> State:
        """A layer at a revision: the rows of its line over those of the line that it forked from."""
        if place.seq == 0:
            return EMPTY
        key, cache = (place.branch, place.seq), self._cache
        state = cache.get(key)
        if state is None:
            below = EMPTY
            if place.parent is not None:
                below = self._state(cursor, Place(place.parent, place.fork, None, None, None, 0, ""))
            state = read_state(place.branch, below, cursor.rows(LAYER, line=place.branch, seq=place.seq))
            cache.put(key, state)  # not one that was begun since: an erasure may have come after the rows were read
        return state


def hex_id(place: Place | None) -> str | None:
    """The id of the revision at a place."""
    return None if place is None or place.uid is None else place.uid.hex()
