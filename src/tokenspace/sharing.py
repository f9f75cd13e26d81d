"""Lessons across users: what several of them have each learned is proposed to the layer that they share.

This is the only place where the layers of several users are read together, so it needs the operator's `Admin`. What
leaves it is made anew from structured fields (see `proposers.share`), and goes through the gate at its strictest tier.
A revision names the feedback and entries of its supporters by id; their words stay where they are. When fewer than
enough stand for a lesson, because somebody forgot, corrected or dropped theirs, it is taken back without a test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Final

from tokenspace.budget import Budget
from tokenspace.canary import admit
from tokenspace.config import Parts
from tokenspace.context import apply, continued, edit_key, new_texts, stamp
from tokenspace.domain import (
    Attempt,
    Canary,
    Context,
    Drop,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Kind,
    Origin,
    Proposal,
    Put,
    Scope,
    Verdict,
    digest,
)
from tokenspace.errors import EditError, NotFound, StaleHead
from tokenspace.gates import T4, GateSettings, ReplayGate
from tokenspace.proposers.share import LEAST_SUPPORT, NAME, SUPPORT, Lesson, Shared, agreed, stands, supporters
from tokenspace.protocols import Admin, Store

LINE: Final = "share"
"""The line that attempts are noted on, so that nobody but this module judges them again."""
WITHDRAWN: Final = "its support fell"
"""How the reason begins for which a shared lesson is taken back."""
_RACES: Final = 5


def operator_of(store: Store) -> Admin | None:
    """What a store lets its operator do; None for one that nobody operates."""
    found: Admin | None = getattr(store, "admin", None)
    return found


def sharing_of(parts: Parts) -> Sharing | None:
    """The sharing of lessons as the settings want it; None without an operator's store.

    Where nothing is to be shared (any more), what was shared is held to the usual support.
    """
    admin = operator_of(parts.runtime.store)
    return None if admin is None else Sharing(parts, admin, support=parts.share or SUPPORT)


class Sharing:
    """Finds, proposes and takes back shared lessons of one agent.

    `support` is how many distinct principals must stand for a lesson, three at least. `canaries` are strings that must
    not get into one; the names of users and tenants are among them anyway.
    """

    def __init__(
        self,
        parts: Parts,
        admin: Admin,
        *,
        settings: GateSettings | None = None,
        support: int = SUPPORT,
        canaries: Iterable[str] = (),
    ) -> None:
        self._parts, self._run, self._admin = parts, parts.runtime, admin
        self._support = max(support, LEAST_SUPPORT)
        self._canaries = tuple(canaries)
        rules = replace(settings or parts.rules or GateSettings(), least_tier=T4)
        self._gate = ReplayGate(parts.runtime, parts.graders, settings=rules)

    # ── what users have learned ─────────────────────────────────────────────────────────────
    def lessons(self, layer: Scope) -> list[Lesson]:
        """What the users below a shared layer have in layers of their own, with who taught it."""
        return [one for scope in self._users(layer) for one in _own(self._run.store, scope, layer)]

    def found(self, layer: Scope) -> list[Shared]:
        """The lessons on which enough of them agree, and that may be shared."""
        names = {name for scope in self._users(layer) for name in (scope.user, scope.tenant)} - {layer.tenant}
        return agreed(self.lessons(layer), support=self._support, canaries=(*self._canaries, *sorted(names)))

    def _users(self, layer: Scope) -> list[Scope]:
        scopes = self._admin.scopes(layer.agent)
        return [one for one in scopes if one.user and layer.tenant in ("", one.tenant)]

    # ── giving ──────────────────────────────────────────────────────────────────────────────
    async def share(self, layer: Scope, *, budget: Budget) -> list[Attempt]:
        """Propose to a tenant's or the base layer what its users agree on; the attempts, accepted or waiting.

        First what has lost its support is taken back. A lesson that stands already is not proposed again, and one that
        was rejected is not while the same people stand for it, or after a person declined it.
        """
        self.withdraw(layer)
        return [one async for one in self._proposed(layer, budget=budget)]

    async def sleep(self, layer: Scope, *, budget: Budget) -> AsyncIterator[Attempt | Canary]:
        """Take back what lost its support, then propose, if the settings want that; yields what is new."""
        for gone in self.withdraw(layer):
            yield gone
        if not self._parts.share:
            return
        told = {one.id: one.verdict.decision for one in self._of(layer)}
        async for one in self._proposed(layer, budget=budget):
            if told.get(one.id) != one.verdict.decision:
                yield one

    async def _proposed(self, layer: Scope, *, budget: Budget) -> AsyncIterator[Attempt]:
        for one in self.found(layer):
            context = self._run.store.context(layer, self._run.store.heads(layer))
            if not any(_same(entry, one.entry) for entry in context.entries):
                yield await self._judge(layer, one, budget=budget)

    def _of(self, layer: Scope) -> list[Attempt]:
        return [one for one in self._run.store.attempts(layer) if one.proposer == NAME]

    async def _judge(self, layer: Scope, shared: Shared, *, budget: Budget) -> Attempt:
        store, ids = self._run.store, sorted(shared.principals)
        key = digest([NAME, layer, shared.key, ids, self._gate.name])
        like = edit_key(Edit(ops=(Put(entry=shared.entry),)))
        for one in (*store.attempts(layer, key=key), *store.attempts(layer, edit_key=like, decision="reject")):
            declined = one.proposer == NAME and one.verdict.basis == "human"
            if one.verdict.decision != "defer" and (one.key == key or declined):
                return one
        for _ in range(_RACES):
            context = store.context(layer, store.heads(layer))
            evidence = self._evidence(context, shared)
            edit = stamp(_edit(shared, evidence), evidence, by=NAME)
            vectors = self._run.recall.index(new_texts(context, edit))
            same = store.attempts(layer, edit_key=edit_key(edit))
            proposal = Proposal(
                edit=edit, evidence=evidence, candidate=apply(context, edit, vectors=vectors),
                previous=same[-1] if same else None,
            )  # fmt: skip
            verdict = await self._gate.judge(proposal, budget=budget)
            attempt = Attempt(
                scope=layer, key=key, edit_key=edit_key(edit), proposer=NAME, heads=context.heads, branch=LINE,
                edit=edit, verdict=replace(verdict, support=len(ids)), at=self._run.clock(),
            )  # fmt: skip
            held = next((one for one in same if one.key == key), None)
            attempt = replace(attempt, id=held.id) if held else continued(attempt, same)
            if verdict.decision != "accept":
                store.save_attempt(attempt)
                return attempt
            try:
                made = admit(store, attempt, expect=context.heads.of(layer), branch="", vectors=vectors)
            except StaleHead:
                continue
            return replace(attempt, revision=made.id)
        raise StaleHead(f"the head of {layer} moved {_RACES} times during a judgement", hint="run it again")

    def _evidence(self, context: Context, shared: Shared) -> Evidence:
        """The supporters' feedback and episodes, for the gate's eyes only: none of it is kept with the attempt."""
        said, episodes = list[Feedback](), dict[str, Episode]()
        for scope in sorted({one.scope for one in shared.lessons}):
            feedback, seen = _sources(self._run.store, scope, [one for one in shared.lessons if one.scope == scope])
            said += feedback
            episodes |= seen
        return Evidence(scope=context.scope, context=context, feedback=said, episodes=episodes)

    # ── taking back ─────────────────────────────────────────────────────────────────────────
    def withdraw(self, layer: Scope) -> list[Attempt | Canary]:
        """Take back every shared lesson of a layer that fewer than enough principals stand for now. Asks no model.

        One on trial ends, one that waits is rejected, one that is served is dropped, on the basis of policy. Returns
        what was done. What users have learned is only looked at where something is shared.
        """
        if not any(one.verdict.decision in ("accept", "defer") for one in self._of(layer)):
            return []
        store, lessons, gone = self._run.store, self.lessons(layer), list[Attempt | Canary]()
        for canary in store.canaries(layer):
            made = store.revision(canary.scope, canary.revision) if canary.scope == layer else None
            if made is not None and made.author == NAME and canary.promoted is None and self._lost(made.edit, lessons):
                gone.append(self._parts.watch.stop(canary, WITHDRAWN))
        for held in store.attempts(layer, decision="defer"):
            waits = held.proposer == NAME and held.revision is None and held.edit is not None
            if waits and held.edit and self._lost(held.edit, lessons):
                over = replace(held, verdict=replace(held.verdict, decision="reject", reason=WITHDRAWN))
                store.save_attempt(over)
                gone.append(over)
        return [*gone, *self._dropped(layer, lessons)]

    def _dropped(self, layer: Scope, lessons: Sequence[Lesson]) -> list[Attempt]:
        store, made = self._run.store, list[Attempt]()
        for _ in range(_RACES):
            heads = store.heads(layer)
            context, blame = store.context(layer, heads), store.blame(layer, heads)
            gone = [
                id
                for id, entry in sorted(context.layers[-1].own.items())
                if id in blame and blame[id].author == NAME and self._count(entry, lessons) < self._support
            ]
            if not gone:
                return made
            counts = min(self._count(context.by_id[id], lessons) for id in gone)
            reason = f"{WITHDRAWN} to {counts} of {self._support} principals"
            edit = Edit(ops=tuple(Drop(id=id) for id in gone), rationale=reason, read=tuple(gone))
            verdict = Verdict(decision="accept", basis="policy", reason=reason, gate=self._gate.name, tier=T4)
            attempt = Attempt(
                scope=layer, key=digest([WITHDRAWN, layer, gone, heads.of(layer)]), edit_key=edit_key(edit),
                proposer=NAME, heads=heads, branch=LINE, edit=edit, verdict=verdict, at=self._run.clock(),
            )  # fmt: skip
            try:
                done = store.commit(layer, edit, verdict, expect=heads.of(layer), author=NAME, attempt=attempt)
            except (StaleHead, EditError):
                continue
            made.append(replace(attempt, revision=done.id))
        return made

    def _lost(self, edit: Edit, lessons: Sequence[Lesson]) -> bool:
        put = [op.entry for op in edit.ops if isinstance(op, Put)]
        return any(self._count(entry, lessons) < self._support for entry in put)

    def _count(self, entry: Entry, lessons: Sequence[Lesson]) -> int:
        return len(frozenset[str]().union(*(one.principals for one in supporters(entry, lessons))))


def _edit(shared: Shared, evidence: Evidence) -> Edit:
    cited = tuple(sorted({item.id for item in evidence.feedback}))
    read = tuple(sorted(one.entry.id for one in shared.lessons))
    why = f"{len(shared.principals)} principals have each learned it"
    return Edit(ops=(Put(entry=shared.entry),), rationale=why, evidence=cited, read=read)


def _own(store: Store, scope: Scope, layer: Scope) -> list[Lesson]:
    """A user's own lessons, and who stands for them in a shared layer: for an entry of nobody's word, nobody."""
    heads = store.heads(scope)
    context, blame = store.context(scope, heads), store.blame(scope, heads)
    own = {id: entry for id, entry in context.layers[-1].own.items() if entry.kind in (Kind.EXAMPLE, Kind.FACT)}
    told = {item.id: item for item in store.feedback(scope)} if own else {}
    made = list[Lesson]()
    for id, entry in sorted(own.items()):
        said = [told[source] for source in (blame[id].sources if id in blame else ()) if source in told]
        people = frozenset(stands(item.principal, scope, layer) for item in said if item.source >= Origin.USER)
        made.append(Lesson(scope=scope, entry=entry, principals=people, echo=_echo(store, scope, entry, said)))
    return made


def _echo(store: Store, scope: Scope, entry: Entry, said: Sequence[Feedback]) -> bool:
    """Whether a shared entry that says the same was shown in any episode that the lesson comes from (I13)."""
    for item in said:
        try:
            episode = store.episode(scope, item.episode)
        except NotFound:
            continue
        if not episode.shown:
            continue
        then = store.context(scope, episode.heads)
        shared = {id: one for layer in then.layers[:-1] for id, one in layer.own.items()}
        if any(id in shared and supporters(shared[id], [_bare(scope, entry)]) for id in episode.shown):
            return True
    return False


def _bare(scope: Scope, entry: Entry) -> Lesson:
    return Lesson(scope=scope, entry=entry, principals=frozenset({"anybody"}))


def _sources(store: Store, scope: Scope, lessons: Sequence[Lesson]) -> tuple[list[Feedback], dict[str, Episode]]:
    blame = store.blame(scope, store.heads(scope))
    ids = sorted({id for one in lessons if one.entry.id in blame for id in blame[one.entry.id].sources})
    feedback = [item for item in store.feedback(scope, ids=ids) if item.source >= Origin.USER]
    return feedback, {item.episode: store.episode(scope, item.episode) for item in feedback}


def _same(entry: Entry, other: Entry) -> bool:
    return (entry.kind, entry.trigger, entry.text) == (other.kind, other.trigger, other.text)
