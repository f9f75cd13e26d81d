"""Forgetting: a user, an episode, feedback, an entry or a text goes, with everything that was made of it.

`find` says what is meant, `closure` what hangs on it, and `forget` erases that and lets survivors be learned again
from the sources that remain. In exact mode the history is rewritten as if the subject had never been (I10, see
`tokenspace.counterfactual`). Which ids are to go is in the store's journal before anything goes: whoever is killed is
finished by `resume`.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.closure import Rooms, closure
from tokenspace.config import Parts
from tokenspace.counterfactual import without
from tokenspace.domain import Attempt, Scope
from tokenspace.domain.erasure import Cut, Erasure, Pending, Rebuilt, Subject, SubjectKind
from tokenspace.errors import BudgetExceeded, NotFound, StaleHead, TokenspaceError, UsageError
from tokenspace.protocols import Admin
from tokenspace.receipts import UNREACHED, Signer, issue_for, signer_of
from tokenspace.sharing import LINE, sharing_of

KINDS: Final[tuple[SubjectKind, ...]] = ("user", "episode", "feedback", "entry", "text")
LEAST_CHARS: Final = 4
"""A shorter text is in too much to be meant."""

GRACE_S: Final = 10.0
"""Who began an erasure so short a time ago may be at it still: whoever finishes what others began waits so long."""

Beside = Callable[[Subject, str, bool], Mapping[str, int]]
"""Erases a subject from a place outside the store, or with True only counts; the rows by what they are (see `NAMES`).

The text is what was asked for, "" where it is not known any more. Raises `TokenspaceError` where it cannot.
"""


# ── what is meant ───────────────────────────────────────────────────────────────────────────


def find(admin: Admin, scope: Scope, kind: SubjectKind, what: str = "") -> Subject:
    """What is to be forgotten, looked up: raises `NotFound` for what a scope does not hold.

    `what` is the id of an episode, a piece of feedback or an entry of exactly this scope, or what
    `meant` takes for one, or the text; for a user it is empty. A text is looked for in this scope and in all scopes
    below it, letter by letter and folded (case, white space and Unicode forms do not count).
    """
    if kind == "user":
        if not scope.user:
            raise UsageError(f"{scope} is no user", hint="name the tenant and the user: --tenant acme --user ann")
        if scope not in admin.scopes(scope.agent):
            raise NotFound(f"there is no {scope}", hint="`tokenspace status` lists what there is")
        return Subject(kind=kind, scope=scope)
    if kind == "text":
        return _with_text(admin, scope, what)
    room, what = admin.lineage(scope), meant(admin, scope, kind, what)
    if kind == "entry":
        roots = {"revision": frozenset(one.id for one in room.written if what in one.puts)}
    else:
        roots = {kind: frozenset({what})}
    return Subject(kind=kind, scope=scope, roots={scope: roots})


def meant(admin: Admin, scope: Scope, kind: SubjectKind, what: str) -> str:
    """The whole id of an episode, a piece of feedback or an entry; a text, or a user, as it is.

    `what` is the id, or a beginning or an end of it, at least `LEAST_CHARS` long, that no other has. Raises `NotFound`.
    """
    if kind in ("user", "text"):
        return what
    room = admin.lineage(scope)
    every = room.episodes if kind == "episode" else room.feedback
    known = {id for one in room.written for id in one.puts} if kind == "entry" else frozenset(every)
    short = what.removeprefix("#")
    found = {what} & known or {id for id in known if id.startswith(short) or id.endswith(short)}
    if not found or len(short) < LEAST_CHARS:
        raise NotFound(f"{scope} has no {kind} {what}", hint="name the scope that it was recorded in")
    if len(found) > 1:
        raise UsageError(f"{what!r} begins or ends {len(found)} ids", hint="give more of it")
    return found.pop()


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
    beside: Sequence[Beside] = (),
) -> Erasure:
    """Erase a subject with its closure, and learn survivors again from what remains.

    With `exact` the history is replaced by the one in which the subject never was (I10); raises `UsageError`, before
    anything is erased, where that cannot be told (see `counterfactual.without`). With `dry_run` nothing is changed.
    Raises `StoreUnavailable` where the files cannot be scrubbed now: the rest is done, and `resume` scrubs them.
    `who` is the principal that the receipt names, `what` the id or the text that it shall be about, under its salt.
    `beside` are the places outside the store where more of it may be; the result names those that cannot be reached.
    """
    at = parts.runtime.clock()
    if dry_run:
        job = Pending(id="", subject=subject, exact=exact, erased=False)
        return await _erase(parts, admin, job, at=at, budget=budget, by=_Hand(who, what, None, beside))
    id = admin.begin_erasure(subject, exact=exact, at=at)
    by = _Hand(who, what, signer_of(parts.runtime.store), beside)
    job = Pending(id=id, subject=subject, exact=exact, erased=False)
    job = _waits(admin, job) or job
    try:
        return await _erase(parts, admin, job, at=at, budget=budget, by=by)
    except UsageError:
        left = _waits(admin, job)
        if left and not left.erased:  # refused, so nobody is to finish it
            admin.end_erasure(id, at=at)
        raise


async def resume(
    parts: Parts, admin: Admin, *, budget: Budget | None = None, who: str = "", beside: Sequence[Beside] = ()
) -> list[Erasure]:
    """Finish what somebody began and was killed over; in the order in which it was begun.

    The receipt names who finishes it, and what was asked for only by its kind and scope: the rest is kept nowhere.
    Where exact mode is refused by now, it is finished in the default mode, and that is remarked: it was promised.
    """
    by = _Hand(who, "", signer_of(parts.runtime.store), beside)
    return [await _resumed(parts, admin, one, budget=budget, by=by) for one in admin.pending_erasures()]


async def finish(
    parts: Parts, admin: Admin, *, who: str = "", beside: Sequence[Beside] = (), grace_s: float | None = None
) -> tuple[list[Erasure], list[TokenspaceError]]:
    """`resume` for whoever starts with an operator's rights: what was finished, and why others could not be.

    What was begun only just now is left to whoever began it, for `grace_s` (default: `GRACE_S`).
    """
    done, failed, waited_s = list[Erasure](), list[TokenspaceError](), 0.0
    grace_s = GRACE_S if grace_s is None else grace_s
    by = _Hand(who, "", signer_of(parts.runtime.store), beside)
    for one in admin.pending_erasures():
        while waited_s < grace_s and _age_s(one, parts.runtime.clock()) < grace_s and _waits(admin, one):
            await asyncio.sleep(_PAUSE_S)
            waited_s += _PAUSE_S
        try:
            if now := _waits(admin, one):
                done.append(await _resumed(parts, admin, now, budget=None, by=by))
        except TokenspaceError as error:
            failed.append(error)
    return done, failed


_PAUSE_S: Final = 0.25


def _waits(admin: Admin, job: Pending) -> Pending | None:
    return next((one for one in admin.pending_erasures() if one.id == job.id), None)


def _age_s(job: Pending, now: datetime) -> float:
    """How long ago an erasure was begun: its id tells (RFC 9562)."""
    return now.timestamp() - int(job.id[:12], 16) / 1_000


async def _resumed(parts: Parts, admin: Admin, job: Pending, *, budget: Budget | None, by: _Hand) -> Erasure:
    at = parts.runtime.clock()
    try:
        return await _erase(parts, admin, job, at=at, budget=budget, by=by)
    except UsageError:
        if not job.exact or job.erased:
            raise
        by = by._replace(remark=_REFUSED)
        return await _erase(parts, admin, replace(job, exact=False), at=at, budget=budget, by=by)


_REFUSED: Final = "exact mode was refused by then, so this was finished without it"
_LATER: Final = "what remains is learned from again in the next sleep"
_AWAY: Final = (
    "a place beside the store that could not be reached then: the spool of a gateway, or the queue of workers"
)
_ABOVE: Final = "what was made of it in layers above this tenant's, which only an operator erases"
"""Fixed words: they stand in receipts, which name nobody."""


class _Hand(NamedTuple):
    """Who erases, what they were asked to, who signs for it, and where else they reach."""

    who: str
    what: str
    signer: Signer | None = None
    beside: Sequence[Beside] = ()
    remark: str = ""


async def _erase(
    parts: Parts, admin: Admin, job: Pending, *, at: datetime, budget: Budget | None, by: _Hand
) -> Erasure:
    # What waits elsewhere may be on its way into the store: so that comes first.
    rows, unreached = _elsewhere(job, by)
    told = Erasure(
        id=job.id, subject=job.subject, exact=job.exact, dry_run=not job.id, at=at, rows=rows, scopes=(),
        unreached=(*UNREACHED, *unreached), remarks=(by.remark,) if by.remark else (),
    )  # fmt: skip
    if job.erased:
        told = replace(told, rows=dict(Counter(job.rows) + Counter(rows)))
        return _ended(parts, admin, job, told, by=by, ids=job.ids)
    every, cuts, rooms, erased = await _cut_out(parts, admin, job, budget=budget or Budget())
    told = _told(_left_above(told, every, rooms), cuts, rooms, erased)
    if not job.id:
        return told
    told = _ended(parts, admin, job, told, by=by, ids=_ids(cuts, rooms))
    return await _learned_again(parts, job, told, cuts, rooms, budget=budget or Budget())


_LOOKS: Final = 20
"""So often is looked again at what hangs on it, while somebody makes more of it."""


async def _cut_out(
    parts: Parts, admin: Admin, job: Pending, *, budget: Budget
) -> tuple[list[Cut], list[Cut], Rooms, Mapping[str, int]]:
    """All that hangs on it, what of that goes, the lineages that say so, and the rows that went.

    What is made of it while this looks is found by looking again; once it is gone, nobody can make anything of it.
    """
    left = _LOOKS
    while True:
        every, rooms = closure(admin, job.subject)
        cuts = [cut for cut in every if job.subject.reaches(cut.scope)]
        rebuilt: Sequence[Rebuilt] = ()
        if job.exact:
            rebuilt = await _exactly(parts, admin, job, cuts, rooms, budget=budget)
            rewritten = {one.scope for one in rebuilt}
            cuts = [_evidence_only(cut) if cut.scope in rewritten else cut for cut in cuts]
        _destroyed(admin, job)  # first: what is said from here on is under another key
        try:
            ids = _ids(cuts, rooms)
            rows = admin.erase(cuts, rebuilt=rebuilt, journal=job.id, ids=ids, seen=rooms, dry_run=not job.id)
        except StaleHead:
            left -= 1
            if not left:
                raise
        else:
            return every, cuts, rooms, rows


def _destroyed(admin: Admin, job: Pending) -> str | None:
    """The id of the key that the user's texts were sealed with, destroyed now or before; None for none."""
    return admin.destroy_key(job.subject.scope, only=job.key) if job.id and job.key else None


def _ended(
    parts: Parts, admin: Admin, job: Pending, told: Erasure, *, by: _Hand, ids: Mapping[str, Iterable[str]]
) -> Erasure:
    """What is left to do once rows are gone; nothing here asks a model."""
    if job.subject.kind == "user":
        admin.disown_accesses(job.subject.scope, f"erased-{job.id[-8:]}")
    told = replace(told, scrubbed=admin.scrub())
    try:
        told = replace(told, unshared=_unshared(parts, job, told))
    except TokenspaceError:
        told = replace(told, remarks=(*told.remarks, _LATER))
    if job.erased and _LATER not in told.remarks:
        told = replace(told, remarks=(*told.remarks, _LATER))
    fixed = tuple(one if one in (*UNREACHED, _ABOVE) else _AWAY for one in told.unreached)
    key = _destroyed(admin, job)
    made = issue_for(
        by.signer, replace(told, unreached=fixed), who=by.who, what=by.what, ids=ids, keys=[key] if key else []
    )  # fmt: skip
    admin.end_erasure(job.id, at=told.at, receipt=made.text)
    return replace(told, receipt=made.text, salt=made.salt)


def _left_above(told: Erasure, cuts: Sequence[Cut], rooms: Rooms) -> Erasure:
    """What may not go on the word of whoever asked: the entries of the layers above that were made of it."""
    above = [cut for cut in cuts if not told.subject.reaches(cut.scope) and cut.scope in told.subject.scope.layers]
    entries = {id for cut in above for one in rooms[cut.scope].written if one.id in cut.blank for id in one.puts}
    told = replace(told, beyond=tuple(sorted(entries)))
    return replace(told, unreached=(*told.unreached, _ABOVE)) if above else told


def _elsewhere(job: Pending, by: _Hand) -> tuple[dict[str, int], list[str]]:
    """What went from places outside the store, and what could not be reached there."""
    rows, unreached = Counter[str](), list[str]()
    for erase in by.beside:
        try:
            rows.update(erase(job.subject, by.what, not job.id))
        except TokenspaceError as error:
            unreached.append(f"{error}: {error.hint}" if error.hint else str(error))
    return {name: count for name, count in rows.items() if count}, unreached


async def _exactly(
    parts: Parts, admin: Admin, job: Pending, cuts: Sequence[Cut], rooms: Rooms, *, budget: Budget
) -> list[Rebuilt]:
    """The histories in which it never happened. Raises `UsageError` where they cannot be told."""
    if job.subject.kind == "entry":
        raise UsageError("an entry is made by what happened, and did not happen itself", hint="leave out --exact")
    shared = next(
        (scope for scope, room in sorted(rooms.items()) if any(one.branch == LINE for one in room.tried)), None
    )
    if shared is not None:
        raise UsageError(
            f"{shared} has lessons that its users share, and who would have agreed on what cannot be told again",
            hint="leave out --exact: then lessons with too little support left are taken back",
        )
    return await without(parts, admin, cuts, gone=_evidence(cuts, rooms), budget=budget)


async def _learned_again(
    parts: Parts, job: Pending, told: Erasure, cuts: Sequence[Cut], rooms: Rooms, *, budget: Budget
) -> Erasure:
    """What survivors teach now. The erasure is over: what fails here is said, and sleep does it later."""
    again, sharing = list[Attempt](), sharing_of(parts)
    if job.exact:
        return told
    try:
        async for one in _again(parts, job.subject, cuts, rooms, budget=budget):
            again.append(one)
        for cut in cuts:
            lost = cut.gone.get("attempt", frozenset[str]())
            if (
                sharing
                and parts.share
                and any(one.branch == LINE and one.key in lost for one in rooms[cut.scope].tried)
            ):
                again += await sharing.share(cut.scope, budget=budget)
    except TokenspaceError as error:
        told = replace(told, remarks=(*told.remarks, f"{_LATER}: now it could not be done ({error})"))
    return replace(told, again=tuple(one.id for one in again))


def _unshared(parts: Parts, job: Pending, told: Erasure) -> tuple[str, ...]:
    """Shared lessons that have too little support left, taken back."""
    sharing = sharing_of(parts)
    if sharing is None or job.exact:
        return ()
    touched = {job.subject.scope, *job.subject.roots, *told.scopes}
    layers = {layer for scope in touched for layer in scope.layers if not layer.user}
    return tuple(one.id for layer in sorted(filter(job.subject.reaches, layers)) for one in sharing.withdraw(layer))


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
    named = sum(len(kinds.get("line", ())) for kinds in told.subject.roots.values())
    if named:
        remarks.append(f"{named} branches hold it in their name, which the ledger is chained to: they keep it")
    if shown:
        remarks.append(f"{shown} episodes of others were answered while it was shown, and are kept: they are theirs")
    return replace(
        told,
        rows=dict(sorted((Counter(told.rows) + Counter(rows)).items())),
        scopes=tuple(cut.scope for cut in cuts),
        revisions=tuple(sorted(id for cut in cuts for id in cut.blank)),
        withdrawn=tuple(sorted(id for cut in cuts for id in cut.withdrawn)),
        remarks=(*told.remarks, *remarks),
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
    if erasure.unshared:
        lines.append(f"{len(erasure.unshared):,} shared lessons have too little support left, and were taken back")
    lines += [erasure.scrubbed] if erasure.scrubbed else []
    lines += erasure.remarks
    if erasure.beyond:
        lines.append(f"for an operator: tokenspace forget --entry ID, without --tenant: {', '.join(erasure.beyond)}")
    lines += ["not reached:", *(f"  {one}" for one in erasure.unreached)]
    if erasure.receipt:
        lines.append(f"receipt: tokenspace receipts show {erasure.id[-8:]}; its salt, shown only now: {erasure.salt}")
    return "\n".join(lines)


NAMES: Final = {
    "account": "accounts of what was spent", "answer_id": "providers' response ids", "attempt": "attempts",
    "branch": "lines of history", "canary": "canaries", "entry": "versions of entries", "episode": "episodes",
    "feedback": "pieces of feedback", "head": "heads", "injection": "remembered injections",
    "job": "jobs in the queue", "job_step": "checkpoints of jobs", "outcome": "remembered replays",
    "provenance": "links of provenance", "reading": "readings of canaries", "replay_case": "cases",
    "revision": "revisions", "session": "conversations", "spool": "records in a spool file", "tomb": "tombs",
    "vector": "vectors",
}  # fmt: skip
"""What the tables are called in words."""
