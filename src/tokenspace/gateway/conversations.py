"""Which conversation a request belongs to, and what was put into it before.

Clients send the whole conversation with every call, and never what we added. So a conversation is known again by where
an earlier call ended: one of the digests of its items is that of the last item then. What was injected where, the
*injection ledger*, is kept in memory, and in the store under the same digests, so that a restart, or another process,
finds the conversation again and injects the same bytes.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

import orjson

from tokenspace.canary import harmed
from tokenspace.context.render import tail
from tokenspace.context.taint import taint
from tokenspace.domain import MAX_NAME_CHARS, Entry, Heads, Message, Origin, Profile, Scope, Session, digest, new_id
from tokenspace.errors import Forgotten, NotFound
from tokenspace.gateway.background import Later
from tokenspace.gateway.snapshots import Blocks, trim
from tokenspace.gateway.wire import Anchor, Asked
from tokenspace.protocols import Store

MAX_ENDS: Final = 20_000
"""So many ends of calls are remembered, of all conversations, some 10 MB; the store has the others."""
MAX_ANCHORS: Final = 512
KNOWN_ENDS: Final = 8
"""A conversation is known by the ends of so many of its last calls."""
MAX_LOOKED_UP: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """What was put at one place of a conversation: nothing, too, is something that is replayed.

    `shown` are ids of entries with digests of their texts, `heads` the ones that they were read at.
    """

    text: str = ""
    turns: tuple[Message, ...] = ()
    shown: tuple[tuple[str, str], ...] = ()
    heads: Heads
    taint: Origin = Origin.OPERATOR

    @property
    def ids(self) -> tuple[str, ...]:
        """The entries in it."""
        return tuple(id for id, _ in self.shown)

    def at(self, index: int) -> Anchor:
        """As the dialects take it."""
        return Anchor(at=index, text=self.text, turns=self.turns)


def anchored(entries: tuple[Entry, ...], heads: Heads, profile: Profile) -> Anchored:
    """Entries as they are carried, least relevant first: byte for byte what `compile_context` puts there."""
    *turns, own = tail(Message(role="user", text=""), entries, profile.style)
    shown = tuple((entry.id, text_digest(entry)) for entry in entries)
    return Anchored(
        text=own.text.removesuffix("\n\n"), turns=tuple(turns), shown=shown, heads=heads, taint=taint(entries)
    )


def text_digest(entry: Entry) -> str:
    """By which an entry is known to say the same still."""
    return digest([entry.trigger, entry.text])[:16]


@dataclass(slots=True, kw_only=True)
class Talk:
    """A conversation. `heads` and `blocks` are those that it began with; `anchors` go by the digest of their place.

    `id` is its own in the store, `name` what the caller calls it, and a canary is drawn by `unit`. Its first call ended
    at `first`, the last ones at `ends`.
    """

    id: str
    name: str = ""
    heads: Heads
    blocks: Blocks | None = None
    began: datetime
    seen: datetime
    saved: datetime | None = None
    first: str = ""
    anchors: OrderedDict[str, Anchored] = field(default_factory=OrderedDict[str, Anchored])
    ends: list[str] = field(default_factory=list[str])

    @property
    def unit(self) -> str:
        """What a canary's share is drawn by."""
        return self.name or self.id

    def put(self, place: str, made: Anchored) -> None:
        """Anchor something, or something else, at a place."""
        self.anchors[place] = made
        trim(self.anchors, MAX_ANCHORS)


class Conversations:
    """The conversations that are going on. Used from one event loop; `look_up` alone is for a thread."""

    def __init__(self, store: Store, later: Later) -> None:
        self._store = store
        self._later = later
        self._ends: OrderedDict[tuple[Scope, str], Talk] = OrderedDict()
        self._answers: deque[tuple[Scope, str, str]] = deque(maxlen=MAX_ENDS)

    def find(self, scope: Scope, name: str, asked: Asked) -> Talk | None:
        """The conversation in memory: by its name, else by the latest known end of a call in it."""
        self._take_answers()
        if name:
            return self._ends.get((scope, f"name:{name}"))
        if asked.previous:
            known = self._ends.get((scope, f"answer:{asked.previous}"))
            if known is not None:
                return known
        ends = ((scope, place) for place in reversed(asked.chain))
        return next((self._ends[end] for end in ends if end in self._ends), None)

    def keep(self, scope: Scope, talk: Talk, asked: Asked) -> None:
        """Know the conversation by where this call ends, and no longer by where it ended long ago."""
        if talk.name:
            self._know(scope, f"name:{talk.name}", talk)
        elif asked.previous:
            self._know(scope, f"answer:{asked.previous}", talk)
        elif asked.chain:
            end = asked.chain[asked.last]
            talk.first = talk.first or end
            if end not in talk.ends:
                talk.ends.append(end)
            self._know(scope, end, talk)
            while len(talk.ends) > KNOWN_ENDS:
                self._unknow(scope, talk.ends.pop(0), talk)

    def answered(self, scope: Scope, answer: str, session: str) -> None:
        """Know the conversation, named as in the injection, by the id of an answer that it may go on from.

        May be called from any thread: it is taken in at the next `find`.
        """
        self._answers.append((scope, answer, session))

    def _take_answers(self) -> None:
        while self._answers:
            scope, answer, session = self._answers.popleft()
            talk = self._ends.get((scope, f"name:{session}")) or self._ends.get((scope, f"id:{session}"))
            if talk is not None:
                self._know(scope, f"answer:{answer}", talk)

    def _know(self, scope: Scope, end: str, talk: Talk) -> None:
        for key in ((scope, end), (scope, f"id:{talk.id}")):
            self._ends[key] = talk
            self._ends.move_to_end(key)
        trim(self._ends, MAX_ENDS)

    def _unknow(self, scope: Scope, end: str, talk: Talk) -> None:
        if self._ends.get((scope, end)) is talk:
            del self._ends[scope, end]

    # ── the store, later or in a thread ─────────────────────────────────────────────────────

    def save(self, scope: Scope, talk: Talk, now: datetime) -> None:
        """Keep when it was last seen, and with which heads it began."""
        talk.saved = now
        session = Session(id=talk.id, scope=scope, heads=talk.heads, last_seen=now)
        self._later.put(partial(self._store.save_session, session))

    def save_anchor(self, scope: Scope, talk: Talk, place: str) -> None:
        """Keep what is anchored at a place, and that it is of this conversation."""
        made = talk.anchors[place]
        self._later.put(partial(self._keep, scope, _key(talk.name, place), _dumped(talk, made), made))

    def _keep(self, scope: Scope, place: str, body: str, made: Anchored) -> None:
        """Not what was erased since it was shown: this may be the last copy of it."""
        with suppress(Forgotten), self._store.steady(scope):
            if self._stands(scope, made):
                self._store.save_anchor(scope, place, body)

    def look_up(self, scope: Scope, name: str, asked: Asked, now: datetime, idle_s: float) -> Talk | None:
        """The conversation in the store, if it is not idle, with what may still be shown of what was anchored in it."""
        places = [asked.chain[at] for at in asked.anchors[-MAX_LOOKED_UP:]]
        keys = {_key(name, place): place for place in places}
        rows = {keys[key]: _loaded(body) for key, body in self._store.anchors(scope, list(keys)).items()}
        # The latest place belongs to this conversation alone; an early one may begin another, too.
        latest = next((rows[place][0] for place in reversed(places) if place in rows), "")
        for id in dict.fromkeys(filter(None, (latest, usable(name), self._of_answer(scope, asked)))):
            session = self._store.session(scope, id)
            if (
                session is None
                or (now - session.last_seen).total_seconds() > idle_s
                or self._left(scope, session.heads)
            ):
                continue
            talk = Talk(id=id, name=name, heads=session.heads, began=session.last_seen, seen=now)
            for place in places:
                if place in rows and self._may_show(scope, rows[place][1]):
                    talk.put(place, rows[place][1])
            return talk
        return None

    def _of_answer(self, scope: Scope, asked: Asked) -> str:
        episode = self._store.episode_of(scope, asked.previous) if asked.previous else None
        return usable(self._store.episode(scope, episode).session or "") if episode else ""

    def _left(self, scope: Scope, heads: Heads) -> bool:
        try:
            return harmed(self._store, self._store.context(scope, heads))
        except NotFound:
            return True

    def _may_show(self, scope: Scope, made: Anchored) -> bool:
        return self._stands(scope, made) and not (made.shown and self._left(scope, made.heads))

    def _stands(self, scope: Scope, made: Anchored) -> bool:
        """Whether nothing of what it shows was erased."""
        if not made.shown:
            return True
        try:
            known = self._store.context(scope, made.heads).by_id
        except NotFound:
            return False
        return all(id in known and known[id].text for id in made.ids)


def usable(name: str) -> str:
    """A caller's name as the id of a session, or another name that depends on it alone."""
    fits = len(name) <= MAX_NAME_CHARS and name.isprintable()
    return name if fits else digest(["session", name])


def new_talk(name: str, heads: Heads, now: datetime, *, again: bool) -> Talk:
    """A conversation that begins; `again` after one of the same name, whose session in the store stays as it is."""
    return Talk(id=new_id() if again or not name else usable(name), name=name, heads=heads, began=now, seen=now)


def _dumped(talk: Talk, made: Anchored) -> str:
    body = {
        "session": talk.id,
        "heads": made.heads.ids,
        "text": made.text,
        "turns": [[message.role, message.text] for message in made.turns],
        "shown": made.shown,
        "taint": made.taint,
    }
    return orjson.dumps(body).decode()


def _key(name: str, place: str) -> str:
    """Where the store keeps it: conversations with names do not share what they have in common."""
    return digest([name, place]) if name else place


def _loaded(body: str) -> tuple[str, Anchored]:
    """The id of a conversation, and what is anchored in it."""
    told: Mapping[str, Any] = json.loads(body)
    base, tenant, user = told["heads"]
    made = Anchored(
        text=told["text"],
        turns=tuple(Message(role=role, text=text) for role, text in told["turns"]),
        shown=tuple((id, said) for id, said in told["shown"]),
        heads=Heads(base=base, tenant=tenant, user=user),
        # What was anchored before this was kept may hold anything.
        taint=Origin(told.get("taint", Origin.UNKNOWN if told["shown"] else Origin.OPERATOR)),
    )
    return told["session"], made
