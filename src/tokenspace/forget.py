"""Forgetting: a user, an episode, feedback, an entry or a text goes, with everything that was made of it.

`find` says what is meant, `closure` what hangs on it, and `forget` erases that and lets survivors be learned again
from the sources that remain. In exact mode the history is rewritten as if the subject had never been (I10, see
`tokenspace.counterfactual`). Which ids are to go is in the store's journal before anything goes: whoever is killed is
finished by `resume`.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.counterfactual import without
from tokenspace.domain import Attempt, Scope
from tokenspace.domain.erasure import Cut, Erasure, Lineage, Pending, Rebuilt, Subject, SubjectKind, Tried, Written
from tokenspace.errors import BudgetExceeded, NotFound, UsageError
from tokenspace.protocols import Admin
from tokenspace.receipts import UNREACHED, Signer, issue_for, signer_of

KINDS: Final[tuple[SubjectKind, ...]] = ("user", "episode", "feedback", "entry", "text")
LEAST_CHARS: Final = 4
"""A shorter text is in too much to be meant."""

Rooms = dict[Scope, Lineage]


# ── what is meant ───────────────────────────────────────────────────────────────────────────


def find(admin: Admin, scope: Scope, kind: SubjectKind, what: str = "") -> Subject:
    """What is to be forgotten, looked up: raises `NotFound` for what a scope does not hold.

    `what` is the id of an episode, a piece of feedback or an entry of exactly this scope, or the text; for a user it
    is empty. A text is looked for in this scope and in all scopes below it, letter by letter and folded (case, white
    space and Unicode forms do not count).
    """
    if kind == "user":
        if not scope.user:
            raise UsageError(f"{scope} is no user", hint="name the tenant and the user: --tenant acme --user ann")
        if scope not in admin.scopes(scope.agent):
            raise NotFound(f"there is no {scope}", hint="`tokenspace status` lists what there is")
        return Subject(kind=kind, scope=scope)
    if kind == "text":
        return _with_text(admin, scope, what)
    room = admin.lineage(scope)
    known: Iterable[str] = {
        "episode": room.episodes,
        "feedback": room.feedback,
        "entry": {id for one in room.written for id in one.puts},
    }[kind]
    if what not in known:
        raise NotFound(f"{scope} has no {kind} {what}", hint="name the scope that it was recorded in")
    if kind == "entry":
        roots = {"revision": frozenset(one.id for one in room.written if what in one.puts)}
    else:
        roots = {kind: frozenset({what})}
    return Subject(kind=kind, scope=scope, roots={scope: roots})


def _with_text(admin: Admin, scope: Scope, text: str) -> Subject:
    wanted = folded(text)
    if len(wanted) < LEAST_CHARS:
        raise UsageError(f"{text!r} is too short a text", hint=f"give {LEAST_CHARS} characters or more")

    def contains(said: str) -> bool:
        return text in said or wanted in folded(said)

    roots: dict[Scope, Mapping[str, frozenset[str]]] = {}
    for one in _below(admin, scope):
        hits = admin.lineage(one, contains=contains).hits
        if hits:
            roots[one] = hits
    if not roots:
        raise NotFound(f"nothing in {scope} contains this text", hint="try a shorter part of it")
    return Subject(kind="text", scope=scope, roots=roots)


def folded(text: str) -> str:
    """A text as it is compared: NFKC, case folded, runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _below(admin: Admin, scope: Scope) -> list[Scope]:
    """A scope and all below it."""
    return [one for one in admin.scopes(scope.agent) if scope in one.layers]


# ── what hangs on it ────────────────────────────────────────────────────────────────────────


def closure(admin: Admin, subject: Subject) -> tuple[list[Cut], Rooms]:
    """What goes, scope by scope, and the lineages that say so.

    Shared layers above are always looked at; what is below a shared layer that loses something, then, too.
    """
    known = frozenset(admin.scopes(subject.scope.agent))
    wanted = {layer for one in (subject.scope, *subject.roots) for layer in one.layers if layer in known}
    rooms: Rooms = {}
    spread = _Spread(rooms, subject)
    while wanted - rooms.keys():
        rooms |= {scope: admin.lineage(scope) for scope in sorted(wanted - rooms.keys())}
        spread = _Spread(rooms, subject)
        shared = [scope for scope in spread.tainted if not scope.user]
        wanted |= {one for one in known for scope in shared if scope in one.layers}
    return [cut for cut in map(spread.cut, sorted(rooms)) if not cut.empty], rooms


class _Spread:
    """How what is forgotten spreads along provenance, until nothing is added.

    `ids` are gone wherever they are named. An entry is gone from a moment on, and for those who can see its layer: what
    cites or replaces it later goes, too.
    """

    def __init__(self, rooms: Rooms, subject: Subject) -> None:
        self._rooms = rooms
        self._roots = subject.roots
        self._whole = frozenset({subject.scope} if subject.kind == "user" else ())
        self.ids: set[str] = {id for kinds in subject.roots.values() for ids in kinds.values() for id in ids}
        self.blank: dict[Scope, set[str]] = defaultdict(set)
        self._entries: dict[str, list[tuple[Scope, datetime]]] = defaultdict(list)
        self._lost_attempts: dict[Scope, set[str]] = defaultdict(set)
        for scope in self._whole & rooms.keys():
            self._all_of(rooms[scope])
        before = -1
        while before != (before := self._size()):
            for room in rooms.values():
                if room.scope not in self._whole:
                    self._round(room)

    @property
    def tainted(self) -> frozenset[Scope]:
        """Scopes some of whose own entries or drafts are gone."""
        return frozenset({scope for scope, lost in self.blank.items() if lost} | self._whole)

    def _size(self) -> int:
        return len(self.ids) + sum(map(len, self.blank.values())) + sum(map(len, self._entries.values()))

    def _all_of(self, room: Lineage) -> None:
        self.ids.update(room.episodes, room.feedback, room.cases, room.canaries)
        self.ids.update(id for one in room.tried for id in (one.id, one.key))
        for one in room.written:
            self._lose(room.scope, one)
        # What this user said elsewhere is theirs, too.
        for other in self._rooms.values():
            if other.scope in room.scope.layers[:-1]:
                self.ids.update(id for id, (_, who) in other.feedback.items() if who == room.scope.user)

    def _round(self, room: Lineage) -> None:
        ids = self.ids
        ids.update(id for id, (about, _) in room.feedback.items() if about in ids)
        ids.update(id for id, sources in room.cases.items() if not ids.isdisjoint(sources))
        lost = self._lost_attempts[room.scope]
        for one in room.tried:
            if one.key not in lost and (one.id in ids or self._hit(room.scope, one)):
                lost.add(one.key)
                ids.update((one.id, one.key))
        led = {one.revision for one in room.tried if one.key in lost}
        for one in room.written:
            if one.id in self.blank[room.scope]:
                continue
            if one.id in ids or one.id in led or self._hit(room.scope, one) or self._replaces(room.scope, one):
                self._lose(room.scope, one)
        blank = self.blank[room.scope]
        for one in room.tried:
            if one.revision in blank and one.key not in lost:
                lost.add(one.key)
                ids.update((one.id, one.key))

    def _lose(self, scope: Scope, made: Written) -> None:
        self.ids.add(made.id)
        self.blank[scope].add(made.id)
        for id in made.puts:
            self._entries[id].append((scope, made.at))

    def _hit(self, scope: Scope, one: Written | Tried) -> bool:
        if not self.ids.isdisjoint(one.sources):
            return True
        return any(self._gone(scope, id, one.at) for id in one.sources if id in self._entries)

    def _replaces(self, scope: Scope, made: Written) -> bool:
        return any(self._gone(scope, id, made.at) for id in made.puts if id in self._entries)

    def _gone(self, scope: Scope, entry: str, at: datetime) -> bool:
        return any(
            since <= at and (layer in scope.layers or scope in layer.layers) for layer, since in self._entries[entry]
        )

    def cut(self, scope: Scope) -> Cut:
        """What goes in one scope."""
        room, ids = self._rooms[scope], self.ids
        if scope in self._whole:
            return Cut(scope=scope, whole=True)
        lost, blank = self._lost_attempts[scope], self.blank[scope]
        tainted = bool(lost) or any(self.blank[layer] for layer in scope.layers)
        episodes = ids & room.episodes.keys()
        gone_sessions = {room.episodes[id] for id in episodes} - {None}
        kept_sessions = {about for id, about in room.episodes.items() if id not in episodes}
        gone = {
            "episode": frozenset(episodes),
            "feedback": frozenset(ids & room.feedback.keys()),
            "case": frozenset(ids & room.cases.keys()),
            "attempt": frozenset(lost),
            "outcome": frozenset(key for key, about in room.outcomes.items() if about in ids or key in ids),
            "answer": frozenset(id for id, about in room.answers.items() if about in ids),
            "session": frozenset(id for id in gone_sessions - kept_sessions if id in room.sessions),
            "reading": frozenset(about for heard in room.readings.values() for about in heard if about in ids),
        }
        return Cut(
            scope=scope,
            gone={kind: some for kind, some in gone.items() if some},
            blank=frozenset(blank),
            withdrawn=frozenset(
                one.id for one in room.written if one.id not in blank and not ids.isdisjoint(one.cases)
            ),
            withdrawn_attempts=frozenset(
                one.key for one in room.tried if one.key not in lost and not ids.isdisjoint(one.cases)
            ),
            tainted=tainted or "anchor" in self._roots.get(scope, {}),
        )


# ── forgetting ──────────────────────────────────────────────────────────────────────────────


async def forget(
    parts: Parts,
    admin: Admin,
    subject: Subject,
    *,
    exact: bool = False,
    dry_run: bool = False,
    budget: Budget | None = None,
    who: str = "",
    what: str = "",
) -> Erasure:
    """Erase a subject with its closure, and learn survivors again from what remains.

    With `exact` the history is replaced by the one in which the subject never was (I10); raises `UsageError`, before
    anything is erased, where that cannot be told (see `counterfactual.without`). With `dry_run` nothing is changed.
    Raises `StoreUnavailable` where the files cannot be scrubbed now: the rest is done, and `resume` scrubs them.
    `who` is the principal that the receipt names, `what` the id or the text that it shall be about, under its salt.
    """
    at = parts.runtime.clock()
    if dry_run:
        job = Pending(id="", subject=subject, exact=exact, erased=False)
        return await _erase(parts, admin, job, at=at, budget=budget, by=_Hand(who, what))
    id = admin.begin_erasure(subject, exact=exact, at=at)
    by = _Hand(who, what, signer_of(parts.runtime.store))
    job = Pending(id=id, subject=subject, exact=exact, erased=False)
    return await _erase(parts, admin, job, at=at, budget=budget, by=by)


async def resume(parts: Parts, admin: Admin, *, budget: Budget | None = None, who: str = "") -> list[Erasure]:
    """Finish what somebody began and was killed over; in the order in which it was begun.

    The receipt names who finishes it, and what was asked for only by its kind and scope: the rest is kept nowhere.
    """
    at, by = parts.runtime.clock(), _Hand(who, "", signer_of(parts.runtime.store))
    return [await _erase(parts, admin, one, at=at, budget=budget, by=by) for one in admin.pending_erasures()]


class _Hand(NamedTuple):
    """Who erases, what they were asked to, and who signs for it."""

    who: str
    what: str
    signer: Signer | None = None


async def _erase(
    parts: Parts, admin: Admin, job: Pending, *, at: datetime, budget: Budget | None, by: _Hand
) -> Erasure:
    told = Erasure(
        id=job.id, subject=job.subject, exact=job.exact, dry_run=not job.id, at=at, rows={}, scopes=(),
        unreached=UNREACHED,
    )  # fmt: skip
    if not job.erased:
        cuts, rooms = closure(admin, job.subject)
        rebuilt: Sequence[Rebuilt] = ()
        if job.exact and job.subject.kind == "entry":
            raise UsageError("an entry is made by what happened, and did not happen itself", hint="leave out --exact")
        if job.exact:
            rebuilt = await without(parts, admin, cuts, gone=_evidence(cuts, rooms), budget=budget or Budget())
            rewritten = {one.scope for one in rebuilt}
            cuts = [_evidence_only(cut) if cut.scope in rewritten else cut for cut in cuts]
        rows = admin.erase(cuts, rebuilt=rebuilt, journal=job.id, dry_run=not job.id)
        told = _told(told, cuts, rooms, rows)
    else:
        cuts, rooms = [], {}
        told = replace(told, rows=job.rows)
    if not job.id:
        return told
    again: list[Attempt] = []
    if not job.exact:
        again = [one async for one in _again(parts, job.subject, cuts, rooms, budget=budget or Budget())]
    key = None
    if job.subject.kind == "user":
        key = admin.destroy_key(job.subject.scope)
        admin.disown_accesses(job.subject.scope, f"erased-{job.id[-8:]}")
    told = replace(told, again=tuple(one.id for one in again), scrubbed=admin.scrub())
    ids = _ids(cuts, rooms)
    made = issue_for(by.signer, told, who=by.who, what=by.what, ids=ids, keys=[key] if key else [])
    admin.end_erasure(job.id, at=at, receipt=made.text)
    return replace(told, receipt=made.text, salt=made.salt)


def _ids(cuts: Sequence[Cut], rooms: Rooms) -> dict[str, set[str]]:
    """The ids of what went, by table, for the receipt, which keeps them hashed."""
    found: dict[str, set[str]] = defaultdict(set)
    for cut in cuts:
        room, gone = rooms[cut.scope], cut.gone
        for table, kind, every in (
            ("episode", "episode", room.episodes), ("feedback", "feedback", room.feedback),
            ("replay_case", "case", room.cases), ("answer_id", "answer", room.answers),
            ("session", "session", room.sessions),
        ):  # fmt: skip
            found[table] |= set(every) if cut.whole else gone.get(kind, frozenset())
        found["revision"] |= {one.id for one in room.written} if cut.whole else cut.blank
        lost = gone.get("attempt", frozenset())
        found["attempt"] |= {one.id for one in room.tried if cut.whole or one.key in lost}
    return found


def _evidence(cuts: Sequence[Cut], rooms: Rooms) -> frozenset[str]:
    """The ids of all evidence that goes."""
    found: set[str] = set()
    for cut in cuts:
        room = rooms[cut.scope]
        every: list[Iterable[str]] = [room.episodes, room.feedback, room.cases]
        some = [cut.gone.get(kind, ()) for kind in ("episode", "feedback", "case")]
        found.update(*(every if cut.whole else some))
    return frozenset(found)


def _evidence_only(cut: Cut) -> Cut:
    """Where the history is replaced, only the evidence is cut: the rest is not as if it had never been."""
    kinds = ("episode", "feedback", "case", "answer", "session", "reading")
    return Cut(scope=cut.scope, whole=cut.whole, gone={kind: ids for kind, ids in cut.gone.items() if kind in kinds})


def _told(told: Erasure, cuts: Sequence[Cut], rooms: Rooms, rows: Mapping[str, int]) -> Erasure:
    """What went, and what was kept although it has to do with it."""
    lost = {cut.scope: cut for cut in cuts}
    entries = {
        id
        for scope, cut in lost.items()
        for one in rooms[scope].written if cut.whole or one.id in cut.blank
        for id in one.puts
    }  # fmt: skip
    shown = sum(
        not entries.isdisjoint(seen)
        for scope, room in rooms.items()
        for id, seen in room.shown.items()
        if not (scope in lost and (lost[scope].whole or id in lost[scope].gone.get("episode", ())))
    )
    remarks: list[str] = []
    if shown:
        remarks.append(f"{shown} episodes of others were answered while it was shown, and are kept: they are theirs")
    return replace(
        told,
        rows={table: count for table, count in sorted(rows.items()) if count},
        scopes=tuple(cut.scope for cut in cuts),
        revisions=tuple(sorted(id for cut in cuts for id in cut.blank)),
        withdrawn=tuple(sorted(id for cut in cuts for id in cut.withdrawn)),
        remarks=tuple(remarks),
    )


async def _again(
    parts: Parts, subject: Subject, cuts: Sequence[Cut], rooms: Rooms, *, budget: Budget
) -> AsyncIterator[Attempt]:
    """Try again, from the sources that remain, what had more sources than the one that was forgotten.

    What comes of it is judged anew by the gate, so what has too little support now is not accepted again. What made an
    entry that was itself the subject is not asked to make it again.
    """
    roots = {id for kinds in subject.roots.values() for id in kinds.get("revision", ())}
    by_name = {one.name: one for one in parts.proposers}
    for cut in cuts:
        for one in () if cut.whole else rooms[cut.scope].tried:
            proposer = by_name.get(one.proposer)
            lost = one.key in cut.gone.get("attempt", ()) and one.revision is not None and one.revision not in roots
            if not lost or proposer is None or one.branch:
                continue
            left = parts.runtime.store.feedback(cut.scope, ids=one.evidence)
            if not left:
                continue
            try:
                yield await loop.learn(parts.runtime, proposer, parts.gate, feedback=left, budget=budget)
            except BudgetExceeded:
                return


def in_words(erasure: Erasure) -> str:
    """A report for people: what goes or went, by table, and what nobody here can reach."""
    verb = "would go" if erasure.dry_run else "is gone"
    lines = [f"{sum(erasure.rows.values()):,} rows in {len(erasure.scopes)} scope(s): what {verb}"]
    lines += [f"  {count:>8,}  {NAMES.get(table, table)}" for table, count in erasure.rows.items()]
    if erasure.revisions and not erasure.exact:
        lines.append(f"{len(erasure.revisions):,} revisions lose their texts and keep their ids")
    if erasure.withdrawn:
        lines.append(f"{len(erasure.withdrawn):,} verdicts rest on evidence that is withdrawn, and are marked")
    if erasure.again:
        lines.append(f"{len(erasure.again):,} edits were tried again from what remains")
    lines += [erasure.scrubbed] if erasure.scrubbed else []
    lines += erasure.remarks
    lines += ["not reached:", *(f"  {one}" for one in erasure.unreached)]
    if erasure.receipt:
        lines.append(f"receipt: tokenspace receipts show {erasure.id[-8:]}; its salt, shown only now: {erasure.salt}")
    return "\n".join(lines)


NAMES: Final = {
    "account": "accounts of what was spent", "answer_id": "providers' response ids", "attempt": "attempts",
    "branch": "lines of history", "canary": "canaries", "entry": "versions of entries", "episode": "episodes",
    "feedback": "pieces of feedback", "head": "heads", "injection": "remembered injections",
    "job_step": "checkpoints of jobs", "outcome": "remembered replays", "provenance": "links of provenance",
    "reading": "readings of canaries", "replay_case": "cases", "revision": "revisions", "session": "conversations",
    "tomb": "tombs", "vector": "vectors",
}  # fmt: skip
"""What the tables are called in words."""
