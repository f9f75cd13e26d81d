"""What a layer held at a revision, as read from its rows, and a small cache of such states.

A state never changes, so it is read once; shared layers are read from the database once in a long while. Where text
is erased, this cache is thrown away (see `Reading`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from tokenspace.domain import Blame, Entry, Layer, Origin
from tokenspace.store.chain import ENTRY_FIELDS
from tokenspace.store.codec import KINDS, STATUSES, Effect, unpack_id, unpack_time
from tokenspace.store.database import Row

MAX_CACHED_ENTRIES: Final = 50_000
BORN: Final = len(ENTRY_FIELDS)
"""Where a row of `contexts.LAYER` goes on after the entry's own columns: born, who wrote it, vector, is it a tomb."""


class Wrote(NamedTuple):
    """Who wrote an entry: what `Blame` is made from when somebody asks."""

    branch: int
    born: int
    uid: bytes
    author: int
    at: int
    basis: int
    evidence: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A layer at a revision, with who wrote what; `marks` are the live tomb rows by id: (branch, born).

    `blames` is filled when somebody asks.
    """

    layer: Layer
    wrote: Mapping[str, Wrote]
    marks: Mapping[str, tuple[int, int]]
    vectors: Mapping[str, bytes]
    blames: dict[str, Blame] = field(default_factory=dict[str, Blame], compare=False)


EMPTY: Final = State(layer=Layer(), wrote={}, marks={}, vectors={})


class Cache:
    """The states used last, as many as hold `MAX_CACHED_ENTRIES` together."""

    def __init__(self) -> None:
        self._states: OrderedDict[tuple[int, int], State] = OrderedDict()
        self._lock = threading.Lock()
        self._size = 0

    def get(self, key: tuple[int, int]) -> State | None:
        """The state at (branch, seq), if it is at hand."""
        with self._lock:
            found = self._states.get(key)
            if found is not None:
                self._states.move_to_end(key)
            return found

    def put(self, key: tuple[int, int], state: State) -> None:
        """Keep a state that is committed."""
        with self._lock:
            if key in self._states:
                return
            self._states[key] = state
            self._size += _weight(state)
            while self._size > MAX_CACHED_ENTRIES and len(self._states) > 1:
                self._size -= _weight(self._states.popitem(last=False)[1])


def _weight(state: State) -> int:
    return 1 + len(state.wrote) + len(state.marks)


def make_entry(row: Row) -> Entry:
    """An entry from its columns, in the order of `ENTRY_FIELDS`."""
    id, kind, doc, text, trigger, origin, status, pos, until, supersedes, key, since, *_ = row
    return Entry(
        id=id.hex() if len(id) == 16 else unpack_id(id),
        kind=KINDS[int(kind)],
        doc=doc,
        text=text,
        trigger=trigger,
        origin=Origin(origin),
        status=STATUSES[int(status)],
        pos=pos,
        valid_until=None if until is None else unpack_time(until),
        supersedes=None if supersedes is None else unpack_id(supersedes),
        key=key or "",
        valid_from=None if since is None else unpack_time(since),
    )


def read_state(branch: int, below: State, rows: Sequence[Row]) -> State:
    """The rows of a line at a revision, over the state that the line began with."""
    own, hidden = dict(below.layer.own), set(below.layer.hidden)
    wrote, marks, vectors = dict(below.wrote), dict(below.marks), dict(below.vectors)
    for row in rows:
        made = None if row[-1] else make_entry(row)
        id = unpack_id(row[0]) if made is None else made.id
        if below is not EMPTY:
            for past in (own, wrote, marks, vectors):
                past.pop(id, None)
            hidden.discard(id)
        if made is None:
            marks[id] = (branch, row[BORN])
            if row[1] == Effect.HIDDEN:
                hidden.add(id)
            continue
        own[id] = made
        wrote[id] = Wrote(branch, *row[BORN : BORN + 6])
        if row[BORN + 6] is not None:
            vectors[id] = row[BORN + 6]
    return State(
        layer=Layer(own=MappingProxyType(own), hidden=frozenset(hidden)), wrote=wrote, marks=marks, vectors=vectors
    )
