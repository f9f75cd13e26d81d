"""Forgetting in ids: who or what is forgotten, what hangs on it, what is erased where. No text is in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

from tokenspace.domain.entries import Heads
from tokenspace.domain.identity import Scope
from tokenspace.domain.judgement import Attempt, Outcome, Revision

SubjectKind = Literal["user", "episode", "feedback", "entry", "text"]
ERASED = "erased"
"""What the message of an erased revision says, and its author if that was a person."""


def _nothing() -> Mapping[str, frozenset[str]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be forgotten: a user's whole scope, or records of a scope by their ids.

    `roots` are the ids that the closure begins with, by kind: episode, feedback, case, attempt, revision, entry,
    answer, session, canary (its reason), line (a branch's name). For a text they are those of all records that contain
    it; the text itself is not kept. `tenant` is whom the one who asks speaks for, "" for the operator.
    """

    kind: SubjectKind
    scope: Scope
    roots: Mapping[Scope, Mapping[str, frozenset[str]]] = field(default_factory=lambda: MappingProxyType({}))
    tenant: str = ""

    def reaches(self, scope: Scope) -> bool:
        """Whether something may go from a scope: whoever speaks for a tenant erases nothing above it or beside it."""
        return self.tenant in ("", scope.tenant)

    def said(self, layer: Scope, principal: str) -> bool:
        """Whether the user who is meant said something in a layer above their own, by the principal that said it.

        Names are the tenant's to give: the same name in the base, or with another tenant, is somebody else. A key of
        the tenant names the user after itself.
        """
        user = self.scope.user
        own = bool(self.scope.tenant) and layer.tenant == self.scope.tenant and not layer.user
        return self.kind == "user" and own and user in (principal, principal.partition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A revision without its texts: what it was made from, the cases of its verdict and the entries that it put.

    `seq` counts the revisions of its line, and goes on from those of the line that it was forked from.
    """

    id: str
    branch: str
    seq: int
    at: datetime
    sources: frozenset[str]
    cases: frozenset[str]
    puts: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An attempt without its texts."""

    key: str
    id: str
    at: datetime
    proposer: str
    branch: str
    evidence: tuple[str, ...]
    sources: frozenset[str]
    cases: frozenset[str]
    revision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What hangs on what in one scope, by ids: revisions of all its lines oldest first, attempts, and evidence.

    `episodes` name their session, `feedback` the episode and the principal, `cases` their sources, `outcomes` their
    case, `canaries` the revisions that they watch, `readings` their episodes by canary, `answers` their episode.
    `hits` are the ids of records, by kind, that contain the text that was asked for.
    """

    scope: Scope
    written: tuple[Written, ...] = ()
    tried: tuple[Tried, ...] = ()
    episodes: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    shown: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    feedback: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    cases: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    outcomes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    canaries: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    readings: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    answers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sessions: frozenset[str] = frozenset()
    hits: Mapping[str, frozenset[str]] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What goes in one scope. `whole`: everything, the scope's lines included; then the rest says nothing.

    `gone` are ids by kind: episode, feedback, case, attempt (by key), outcome (by key), answer, session, reading (by
    episode), and canary, which loses its reason and stays. Revisions in `blank` keep their ids and lose their texts,
    sources and vectors; those in `withdrawn`, and the attempts (by key), are marked as having lost evidence of their
    verdict, and lose its reason. With `tainted`, all remembered replays and injections of the scope go: they may repeat
    what was shown.
    """

    scope: Scope
    whole: bool = False
    gone: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    blank: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    withdrawn_attempts: frozenset[str] = frozenset()
    tainted: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing goes."""
        changed = self.whole or self.blank or self.withdrawn or self.withdrawn_attempts or self.tainted
        return not changed and not any(self.gone.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A scope's history as it would have been: it takes the place of the history from the revision `keep` on.

    `revisions` are those of the served line after its first `keep` ones, `vectors` of the entries that each of them
    put and `hidden` the inherited entries that it covered, by revision. `attempts` replace all; remembered replays
    whose keys are in `kept` stay, and `outcomes` are added. `heads` are those of episodes, and `sessions` those of
    conversations, that are not what they were, by id.
    """

    scope: Scope
    keep: int
    revisions: tuple[Revision, ...] = ()
    vectors: Mapping[str, Mapping[str, bytes]] = field(default_factory=lambda: MappingProxyType({}))
    hidden: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    attempts: tuple[Attempt, ...] = ()
    kept: frozenset[str] = frozenset()
    outcomes: tuple[Outcome, ...] = ()
    heads: Mapping[str, Heads] = field(default_factory=lambda: MappingProxyType({}))
    sessions: Mapping[str, Heads] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An erasure that was begun and not ended.

    `erased` says that only the files are still to be scrubbed; `rows` are those that went, by table, and `ids` those of
    them that had one. `key` is the id of the key that the user's bodies were sealed with when it was begun.
    """

    id: str
    subject: Subject
    exact: bool
    erased: bool
    rows: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    ids: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    key: str = ""


def reason_left(reason: str, *, basis: str) -> str:
    """What is left of a verdict's reason when evidence of it is gone, which it may quote.

    Who decided stays, and so does that an edit was rolled back: it must not come back by itself.
    """
    said = reason.partition(": ")[0]
    return said if basis == "human" or said.startswith(_STAYS) else ""


_STAYS: Final = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased, or with `dry_run` what would be: rows by table, for each scope that lost something.

    `again` are the ids of attempts made since, from what evidence remains; `unshared` those of shared lessons that were
    taken back because too few stand for them now (attempts, or canaries). `unreached` says in words what nobody here
    can erase, `remarks` what was kept and why. `beyond` are the entries that were made of it in layers that the one who
    asked may not erase from. `id` names it in the store's journal. `receipt` is the signed receipt as
    JSON (see `tokenspace.receipts`) and `salt` what opens it, which is kept nowhere.
    """

    id: str
    subject: Subject
    exact: bool
    dry_run: bool
    at: datetime
    rows: Mapping[str, int]
    scopes: tuple[Scope, ...]
    revisions: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    unshared: tuple[str, ...] = ()
    scrubbed: str = ""
    unreached: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    receipt: str = ""
    salt: str = ""
