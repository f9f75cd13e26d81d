"""Who wrote, read, approved and erased what: one stream of events out of the ledger, the evidence and the access log.

What the ledger says is not noted again: revisions name their authors and verdicts, feedback its principals, episodes
whom they served and with which entries. The access log adds what leaves no other trace: what a person read, keys that
were made, what was refused. Events hold ids, names and numbers, never texts.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal

from tokenspace.domain import Access, Attempt, Deed, Ended, Episode, Feedback, Put, Revision, Scope
from tokenspace.errors import UsageError
from tokenspace.protocols import Admin, Store

DEEDS: Final[tuple[Deed, ...]] = ("read", "wrote", "approved", "erased")
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_APPROVERS: Final = ("approved by ", "promoted by ", "by ")
_DECLINED: Final = "declined by "


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that somebody did. `agent`, `tenant` and `user` say whose data it was about.

    `count` is the number of things of that kind; of an episode, how many learned entries were shown in it. `basis` is
    a revision's: "tested", "human" or "policy", and `principals` are those whose feedback it cites. `outcome` says how
    it ended: done or refused; of an approval, whether it was accepted or declined. `objects` are the ids of all
    that it touched, to find it by.
    """

    at: datetime
    who: str
    deed: Deed
    kind: str
    id: str = ""
    agent: str = ""
    tenant: str = ""
    user: str = ""
    count: int = 1
    outcome: Ended | Literal["accepted", "declined"] = "done"
    basis: str = ""
    principals: tuple[str, ...] = ()
    objects: tuple[str, ...] = field(default=(), repr=False)

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """Newest last; the same for the same events, whoever gives them first."""
        return self.at, self.kind, self.id, self.deed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked; empty for all. `object` is a whole id, `since` the oldest moment, `who` a principal's name."""

    who: str = ""
    deed: Deed | None = None
    since: datetime = BEGINNING
    object: str = ""
    offset: int = 0
    limit: int = 50

    @property
    def reach(self) -> int | None:
        """How many of the newest of a source can be needed; None for all, where a filter may leave any of them out."""
        return None if self.who or self.object or self.deed == "approved" else self.offset + self.limit

    def fits(self, event: Event) -> bool:
        """Whether an event is asked for."""
        return (
            self.deed in {None, event.deed}
            and event.at >= self.since
            and self.who in {"", event.who, event.who.removeprefix("key ")}
            and (not self.object or self.object == event.id or self.object in event.objects)
        )


def note(store: Store, access: Access) -> None:
    """Keep in the access log what somebody does through a door; nothing where a store has no operator's side."""
    admin: Admin | None = getattr(store, "admin", None)
    if admin is not None:
        admin.note_access(access)


def pseudonym(erasure: str) -> str:
    """What stands in the log for a user who was erased: the random end of the erasure's id, which its receipt has, too.

    >>> pseudonym("0199f0aa7bcd7000800012345678abcd")
    'erased-5678abcd'
    """
    return f"erased-{erasure[-8:]}"


def forgotten(
    admin: Admin, scope: Scope, kind: str, *, id: str, principal: str, at: datetime, count: int = 1
) -> Access:
    """Note that something of a scope was erased: that, when, by whom and how many rows, never what.

    Of a `kind` "user", the name becomes a pseudonym here and in every older row about that scope: nobody can compute it
    from the name, so the log no longer says who it was, and still says that somebody was erased and who had looked at
    them. Call it once the erasure stands; `id` is the erasure's.
    """
    user, who = scope.user, principal
    if kind == "user":
        user = pseudonym(id)
        who = user if principal == scope.user else principal
        admin.disown_accesses(scope, user)
    row = Access(
        at=at, agent=scope.agent, tenant=scope.tenant, user=user, principal=who, deed="erased", kind=kind, object=id,
        count=count,
    )  # fmt: skip
    admin.note_access(row)
    return row


# ── asking ──────────────────────────────────────────────────────────────────────────────────


def audit(store: Store, admin: Admin, scope: Scope, question: Question, *, whole: bool = True) -> list[Event]:
    """A page of what happened at a scope and below it, newest first. Blocks.

    The base of an agent holds all its tenants, a tenant all its users. What is about no agent, such as a listing of
    keys, belongs to its tenant, and is left out unless the `whole` tenant is asked about. Without a principal or an
    object in the question, at most the page's reach is read of each source; with one, all of it.
    """
    sources = [_logged(admin, scope, question, whole=whole)]
    for one in admin.scopes(scope.agent):
        if is_below(one.tenant, one.user, scope):
            sources += _of_scope(store, one, question)
    return merged(sources, question)


def merged(sources: Iterable[Sequence[Event]], question: Question) -> list[Event]:
    """One page of several lists of events, each newest first. Pure.

    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> read = Event(at=at, who="ana", deed="read", kind="episode", id="e")
    >>> wrote = Event(at=at.replace(day=2), who="bo", deed="wrote", kind="feedback", id="f", objects=("f", "e"))
    >>> [event.who for event in merged([[read], [wrote]], Question(object="e"))]
    ['bo', 'ana']
    """
    stream = heapq.merge(*sources, key=lambda event: event.order, reverse=True)
    wanted = filter(question.fits, stream)
    return list(islice(wanted, question.offset, question.offset + question.limit))


def since_of(text: str) -> datetime:
    """A day or a moment in ISO 8601, in UTC if it names no zone; "" is the beginning. Raises `UsageError`.

    >>> since_of("2026-01-02").isoformat()
    '2026-01-02T00:00:00+00:00'
    """
    try:
        at = datetime.fromisoformat(text) if text else BEGINNING
        return max(BEGINNING, at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError):
        raise UsageError(f"{text[:40]!r} is no date", hint="write it as 2026-01-31 or 2026-01-31T12:00") from None


def told_event(event: Event) -> dict[str, Any]:
    """An event for scripts: without the ids that it can only be found by."""
    return {one.name: getattr(event, one.name) for one in fields(event) if one.name != "objects"}


def is_below(tenant: str, user: str, scope: Scope) -> bool:
    """Whether a tenant's or user's data is at or below a scope of the same agent."""
    return (not scope.tenant or tenant == scope.tenant) and (not scope.user or user == scope.user)


def _of_scope(store: Store, scope: Scope, question: Question) -> list[list[Event]]:
    """The events of one scope by source, each newest first; sources that cannot have what is asked for are not read."""
    found: list[Iterator[Event]] = []
    if question.deed in {None, "wrote", "approved"}:
        said = store.feedback(scope)
        found += [
            _revisions(_history(store, scope, question.reach), {one.id: one.principal for one in said}),
            map(_of_feedback, said),
            _declined(store.attempts(scope, decision="reject")),
        ]
    if question.deed in {None, "read"}:
        found.append(map(_of_episode, store.episodes(scope, limit=question.reach)))
    return [sorted(events, key=lambda event: event.order, reverse=True) for events in found]


def _history(store: Store, scope: Scope, limit: int | None) -> list[Revision]:
    """The newest revisions of every line of a scope's own layer; of a branch, those since its fork point."""
    lines = {name: store.log(scope, branch=name, limit=limit) for name in ("", *store.branches(scope))}
    return [one for name, log in lines.items() for one in log if one.branch == name]


def _logged(admin: Admin, scope: Scope, question: Question, *, whole: bool) -> list[Event]:
    rows = admin.accesses(
        agent=scope.agent, tenant=scope.tenant, user=scope.user, since=question.since,
        limit=question.reach if whole and question.deed is None else None,
    )  # fmt: skip
    return sorted(map(_of_access, (row for row in rows if whole or row.agent)), key=lambda one: one.order, reverse=True)


# ── what each source says ───────────────────────────────────────────────────────────────────


def _revisions(revisions: Iterable[Revision], principals: Mapping[str, str]) -> Iterator[Event]:
    """Who wrote each revision and, where a person decided, who approved it."""
    for made in revisions:
        edit, basis = made.edit, made.verdict.basis
        touched = (op.entry.id if isinstance(op, Put) else op.id for op in edit.ops)
        heard = sorted({principals[id] for id in edit.evidence if id in principals})
        objects = (made.id, *touched, *edit.evidence, *edit.read)
        approver = approver_of(made) if basis == "human" else ""
        wrote = Event(
            at=made.at, who=made.author, deed="wrote", kind="revision", id=made.id, agent=made.scope.agent,
            tenant=made.scope.tenant, user=made.scope.user, count=len(edit.ops), basis=basis,
            principals=tuple(heard), objects=objects,
        )  # fmt: skip
        yield wrote
        if approver:
            yield replace(wrote, who=approver, deed="approved", outcome="accepted")


def approver_of(made: Revision) -> str:
    """On whose authority a revision was committed: whom the verdict's reason names, or else its author."""
    reason = made.verdict.reason
    return next((reason.removeprefix(words) for words in _APPROVERS if reason.startswith(words)), made.author)


def _declined(attempts: Iterable[Attempt]) -> Iterator[Event]:
    """What a person declined. The reason follows the name, and a name with a colon in it is cut there."""
    for one in attempts:
        reason = one.verdict.reason
        if one.verdict.basis == "human" and reason.startswith(_DECLINED):
            scope = one.scope
            yield Event(
                at=one.at, who=reason.removeprefix(_DECLINED).split(": ")[0], deed="approved", kind="attempt",
                id=one.id, agent=scope.agent, tenant=scope.tenant, user=scope.user, outcome="declined", basis="human",
                objects=(one.id, *one.evidence),
            )  # fmt: skip


def _of_feedback(said: Feedback) -> Event:
    scope = said.scope
    return Event(
        at=said.at, who=said.principal, deed="wrote", kind="feedback", id=said.id, agent=scope.agent,
        tenant=scope.tenant, user=scope.user, objects=(said.id, said.episode),
    )  # fmt: skip


def _of_episode(served: Episode) -> Event:
    """An episode is a read: its entries were shown to a model for whoever it was asked for."""
    scope, shown = served.scope, tuple(dict.fromkeys(served.shown))
    return Event(
        at=served.at, who=scope.user or scope.tenant or scope.agent, deed="read", kind="context", id=served.id,
        agent=scope.agent, tenant=scope.tenant, user=scope.user, count=len(shown), objects=(served.id, *shown),
    )  # fmt: skip


def _of_access(row: Access) -> Event:
    return Event(
        at=row.at, who=row.principal, deed=row.deed, kind=row.kind, id=row.object, agent=row.agent, tenant=row.tenant,
        user=row.user, count=row.count, outcome=row.ended, objects=(row.object,) if row.object else (),
    )  # fmt: skip
