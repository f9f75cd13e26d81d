"""Random histories, and what they come to: for the test that forgetting equals never having happened (I10).

A history is data: what came from outside, and who was asked to learn from what, in order. It can be run with a part of
it left out, and two stores can be compared by all that can be read from them, but for times, costs and random ids.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from tokenspace import loop
from tokenspace.agents.none import NoAgent
from tokenspace.budget import Budget
from tokenspace.config import Parts
from tokenspace.context import edit_key
from tokenspace.domain import (
    Attempt,
    Decision,
    Drop,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Kind,
    Message,
    Op,
    Origin,
    Outcome,
    Patch,
    Proposal,
    Put,
    Request,
    Run,
    Scope,
    Session,
    Signal,
    Usage,
    Verdict,
    digest,
)  # fmt: skip
from tokenspace.domain.erasure import Subject
from tokenspace.errors import EditError
from tokenspace.loop import Runtime
from tokenspace.proposers import Remember
from tokenspace.protocols import Admin, Proposer, Reach, Store
from tokenspace.store import open_store
from tokenspace.testing.arena import NoRecall

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ID: Final = re.compile(r"[0-9a-f]{32}")
HUMAN: Final = Verdict(decision="accept", basis="human", reason="by hand")


# ── who proposes and judges ─────────────────────────────────────────────────────────────────


class Note:
    """What was said becomes a rule."""

    name = "note@1"
    reach: Reach = "one"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """One entry for each piece of feedback."""
        del budget
        ops = tuple(Put(entry=_rule(["note", one.id], str(one.value))) for one in evidence.feedback)
        cited = tuple(id for one in evidence.feedback for id in (one.id, one.episode))
        return Edit(ops=ops, rationale="; ".join(str(one.value) for one in evidence.feedback), evidence=cited)


class Merge:
    """All that is visible, and what was said, becomes one rule; the first that it was made of is dropped."""

    name = "merge@1"
    reach: Reach = "all"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """None where there is nothing to merge; reads what it merges and what was rejected before."""
        del budget
        seen = evidence.context.entries[:3]
        said = " ".join(sorted({str(one.value) for one in evidence.feedback}))
        if len(seen) < 2 or len(said) > 400:
            return None
        text = " ".join(sorted({word for entry in seen for word in entry.text.split()}))
        entry = _rule(["merge", *(one.id for one in seen)], f"{text} {said}")
        ops: tuple[Op, ...] = (Put(entry=entry), Drop(id=seen[0].id)) if seen[0].id != entry.id else (Put(entry=entry),)
        read = (*(one.id for one in seen), *(one.id for one in evidence.rejected[-1:]))
        return Edit(ops=ops, rationale="merged", evidence=tuple(one.id for one in evidence.feedback), read=read)


class Redo:
    """The last visible entry is said otherwise."""

    name = "redo@1"
    reach: Reach = "one"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """None where nothing is visible."""
        del budget
        if not evidence.context.entries:
            return None
        last = evidence.context.entries[-1]
        text = f"{last.text[:200]} {evidence.feedback[0].value} ({len(evidence.accepted)})"
        op = Patch(id=last.id, changes={"text": text})
        return Edit(ops=(op,), evidence=(evidence.feedback[0].id,), read=(last.id,))


class Kept(Remember):
    """`remember` with ids that depend on what it remembers alone: a new run draws the same."""

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """See `Remember`."""
        edit = await super().propose(evidence, budget=budget)
        if edit is None:
            return None
        puts = [op.entry for op in edit.ops if isinstance(op, Put)]
        return replace(edit, ops=tuple(Put(entry=replace(one, id=digest([one.trigger, one.text]))) for one in puts))


def _rule(of: Sequence[str], text: str) -> Entry:
    return Entry(id=digest(list(of)), kind=Kind.RULE, doc="rules", text=text, origin=Origin.USER)


class Weigh:
    """A gate that replays: what it says depends on the candidate, the cases of the scope and what was tried before."""

    name = "weigh@1"

    def __init__(self, run: Runtime) -> None:
        self._run = run

    def on(self, run: Runtime) -> Weigh:
        """The same for another runtime."""
        return Weigh(run)

    async def judge(self, proposal: Proposal, *, budget: Budget) -> Verdict:
        """Remembers a replay for each case that it looks at, and decides by chance, which is keyed by stable things."""
        del budget
        scope, store = proposal.incumbent.scope, self._run.store
        texts = sorted(one.text for one in proposal.candidate.entries)
        cases = [one for one in store.cases(scope) if one.id not in proposal.edit.evidence][-3:]
        outputs = [self._replayed(scope, case.id, texts) for case in cases]
        tried = [len(proposal.evidence.rejected), len(proposal.evidence.accepted), proposal.previous is not None]
        chance = int(digest([edit_key(proposal.edit), texts, outputs, tried])[:4], 16) / 16**4
        decision: Decision = "accept" if chance < 0.6 else "reject" if chance < 0.85 else "defer"
        return Verdict(
            decision=decision, basis="tested", reason=f"chance {chance:.3f}", gate=self.name, pairs=len(cases),
            cases=tuple(one.id for one in cases), differences=tuple(0.5 for _ in cases), usage=Usage(calls=len(cases)),
        )  # fmt: skip

    def _replayed(self, scope: Scope, case: str, texts: list[str]) -> str:
        key = digest(["replay", case, texts])
        known = self._run.store.outcome(scope, key)
        if known is None:
            known = Outcome(key=key, case=case, run=Run(output=digest([key, "output"])[:6] + " ".join(texts)[:40]))
            self._run.store.save_outcome(scope, known)
        return known.run.output


# ── a history ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened at a moment: act, say, learn or hand, in a scope, with what it is about."""

    kind: Literal["act", "say", "learn", "hand"]
    scope: Scope
    id: str = ""
    about: tuple[str, ...] = ()
    text: str = ""
    by: str = ""
    ops: tuple[Op, ...] = ()


def scopes_of(agent: str) -> tuple[Scope, ...]:
    """The scopes of a history: the base, two tenants, three users."""
    names = (("", ""), ("acme", ""), ("acme", "ann"), ("acme", "bob"), ("globex", ""), ("globex", "ann"))
    return tuple(Scope(agent=agent, tenant=tenant, user=user) for tenant, user in names)


def random_history(seed: int, *, steps: int = 24, agent: str = "desk") -> list[Happening]:
    """A history that the seed alone decides."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    scopes, found = scopes_of(agent), list[Happening]()
    acted: dict[Scope, list[str]] = {scope: [] for scope in scopes}
    said: dict[Scope, list[str]] = {scope: [] for scope in scopes}
    for step in range(steps):
        scope, id = chance.choices(scopes, [1, 3, 5, 3, 1, 2])[0], digest([agent, seed, step])
        kind = chance.choices(["act", "say", "learn", "hand"], [3, 5, 6, 1])[0]
        if kind == "act" or not acted[scope]:
            session = chance.choice(["", "s1", "s2"])
            found.append(Happening("act", scope, id, text=f"question {seed} {step}", by=session))
            acted[scope].append(id)
        elif kind == "say" or (kind == "learn" and not said[scope]):
            about = (chance.choice(acted[scope]),)
            who = scope.user or chance.choice(["ann", "bob", "eve"])
            found.append(Happening("say", scope, id, about, f"said{seed}x{step}", who))
            said[scope].append(id)
        elif kind == "learn":
            who = chance.choice(["note@1", "note@1", "merge@1", "redo@1", "remember@1"])
            some = said[scope] if who == "merge@1" else chance.sample(said[scope], min(len(said[scope]), 2))
            some = [chance.choice(said[scope])] if who in ("redo@1", "remember@1") else some
            found.append(Happening("learn", scope, id, tuple(some), by=who))
        else:
            found.append(_by_hand(chance, scope, id, said, step))
    return found


def _by_hand(chance: random.Random, scope: Scope, id: str, said: dict[Scope, list[str]], step: int) -> Happening:
    """A person puts an entry, moves or drops one; now and then they cite what a user below said."""
    below = [one for other, ids in said.items() if scope in other.layers for one in ids]
    cited = (chance.choice(below),) if below and chance.random() < 0.5 else ()
    about = digest(["note", chance.choice(said[scope])]) if said[scope] else ""
    ops: list[tuple[Op, ...]] = [(Put(entry=_rule(["hand", id], f"by hand {step}")),)]
    if about:
        ops += [(Patch(id=about, changes={"pos": step}),), (Drop(id=about),)]
    return Happening("hand", scope, id, cited, ops=chance.choice(ops))


def remaining(history: Sequence[Happening], gone: Iterable[str], user: Scope | None = None) -> list[Happening]:
    """The history in which these episodes and feedback, and all that is of a user, never happened.

    What the user said in their tenant's layer is theirs, too; in the base, their name is somebody else's. A moment at
    which nothing happens stays one.
    """
    lost = set(gone)
    found: list[Happening] = []
    for one in history:
        theirs = user is not None and (
            one.scope == user or (one.kind == "say" and one.by == user.user and one.scope in user.layers[1:])
        )
        if one.kind in ("act", "say") and (theirs or one.id in lost or lost & {*one.about}):
            lost.add(one.id)
        left = tuple(id for id in one.about if id not in lost)
        nothing = theirs or one.id in lost or (one.kind == "hand" and left != one.about)
        if nothing or (one.kind == "learn" and not left):
            found.append(replace(one, kind="act", id=""))
        else:
            found.append(replace(one, about=left) if one.kind == "learn" else one)
    return found


class Stage:
    """Runs histories on a store, whose clock is that of the history; `store` may be the URL of one."""

    def __init__(self, store: Store | str) -> None:
        self.now = _EPOCH
        self.store: Any = open_store(store, clock=lambda: self.now) if isinstance(store, str) else store
        run = Runtime(store=self.store, recall=NoRecall(), agent=NoAgent(), clock=lambda: self.now)
        some: Any = None
        proposers: tuple[Proposer, ...] = (Note(), Merge(), Redo(), Kept())
        self.parts = Parts(
            runtime=run, gate=Weigh(run), watch=some, release=some, graders=some, proposers=proposers
        )  # fmt: skip

    def play(self, history: Sequence[Happening]) -> list[Happening]:
        """Let everything happen, each thing at its moment; returns what is on record.

        That a thing was tried which had been tried before, or which did not apply, leaves no trace, and so is nothing
        that a history without something else could hold.
        """
        return asyncio.run(self._play(history))

    async def _play(self, history: Sequence[Happening]) -> list[Happening]:
        found: list[Happening] = []
        for step, one in enumerate(history):
            self.now = _EPOCH + timedelta(hours=step)
            happened = bool(one.id) and await self._happen(one)
            found.append(one if happened else replace(one, kind="act", id=""))
        return found

    async def _happen(self, one: Happening) -> bool:
        run, store = self.parts.runtime, self.store
        match one.kind:
            case "act":
                heads = store.heads(one.scope)
                if one.by:
                    store.save_session(Session(id=one.by, scope=one.scope, heads=heads, last_seen=self.now))
                request = Request(messages=(Message(role="user", text=one.text),))
                store.record(Episode(
                    id=one.id, scope=one.scope, heads=heads, request=request, run=Run(output=f"answer to {one.text}"),
                    session=one.by or None, at=self.now,
                ))  # fmt: skip
            case "say":
                loop.observe(run, Feedback(
                    id=one.id, scope=one.scope, episode=one.about[0], principal=one.by, signal=Signal.CORRECTION,
                    value=one.text, at=self.now,
                ))  # fmt: skip
            case "learn":
                proposer = next(each for each in self.parts.proposers if each.name == one.by)
                said = store.feedback(one.scope, ids=one.about)
                made = await loop.learn(run, proposer, self.parts.gate, feedback=said, budget=Budget())
                return made.at == self.now
            case "hand":
                edit, head = Edit(ops=one.ops, rationale="by hand", evidence=one.about), store.heads(one.scope)
                try:
                    store.commit(one.scope, edit, HUMAN, expect=head.of(one.scope), author="eve")
                except EditError:
                    return False
        return True


# ── what it comes to ────────────────────────────────────────────────────────────────────────


def state_of(store: Store, admin: Admin, scopes: Sequence[Scope]) -> dict[str, str]:
    """All that can be read of these scopes, under canonical names: random ids count as the first, second, and so on."""
    names: dict[str, str] = {}
    seen: dict[str, object] = {}
    present = set(admin.scopes())
    for scope in (one for one in scopes if one in present):
        log, attempts = store.log(scope)[::-1], store.attempts(scope)
        for made in log:
            names.setdefault(made.id, f"revision {scope} {made.seq}")
        for number, one in enumerate(attempts):
            names.setdefault(one.id, f"attempt {scope} {number}")
            names.setdefault(one.key, f"key {scope} {number}")
            if one.edit_key:  # it is made of ids, where an entry is named
                names.setdefault(one.edit_key, f"edit {scope} {number}")
        for edit in (*(made.edit for made in log), *(one.edit for one in attempts if one.edit)):
            for op in edit.ops:
                if isinstance(op, Put):
                    names.setdefault(op.entry.id, f"entry {len(names)}")
        heads, room = store.heads(scope), admin.lineage(scope)
        sessions = [store.session(scope, id) for id in ("s1", "s2")]
        empty = not (log or attempts or room.episodes or room.feedback)
        seen |= {} if empty else {
            f"{scope}: {what}": value
            for what, value in {
                "heads": heads,
                "context": [sorted(one.own.items()) for one in store.context(scope, heads).layers],
                "hidden": [sorted(one.hidden) for one in store.context(scope, heads).layers],
                "log": [replace(one, at=_EPOCH, verdict=_free(one.verdict)) for one in log],
                "past": [
                    sorted(store.context(scope, heads.at(scope, one.id)).layers[-1].own.items()) for one in log
                ],
                "attempts": [_untimed(one) for one in attempts],
                "episodes": sorted(store.episodes(scope), key=lambda one: one.id),
                "feedback": store.feedback(scope),
                "cases": store.cases(scope),
                "sessions": [replace(one, last_seen=_EPOCH) for one in sessions if one],
                "outcomes": sorted(room.outcomes.items()),
                "sources": [[made.id for made in store.derived(scope, id)] for id in sorted(room.feedback)],
            }.items()
        }  # fmt: skip
    told = {what: repr(value).replace("mappingproxy({})", "{}") for what, value in seen.items()}
    return {what: _ID.sub(lambda found: names.get(found[0], found[0]), words) for what, words in told.items()}


def _free(verdict: Verdict) -> Verdict:
    return replace(verdict, usage=Usage())


def _untimed(one: Attempt) -> Attempt:
    return replace(
        one, at=_EPOCH, usage=Usage(), verdict=_free(one.verdict),
        earlier=tuple((_EPOCH, "", some) for _, _, some in one.earlier),
        proposed="",
    )  # fmt: skip


def random_subject(history: Sequence[Happening], seed: int) -> tuple[Subject, list[Happening]] | None:
    """Something of a history to forget, and the history in which it never happened; None if it is empty."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    users = sorted({one.scope for one in history if one.scope.user})
    events = [one for one in history if one.id and one.kind in ("act", "say")]
    if not events:
        return None
    if users and chance.random() < 0.3:
        user = chance.choice(users)
        return Subject(kind="user", scope=user), remaining(history, (), user)
    one = chance.choice(events)
    kind: Literal["episode", "feedback"] = "episode" if one.kind == "act" else "feedback"
    subject = Subject(kind=kind, scope=one.scope, roots={one.scope: {kind: frozenset({one.id})}})
    return subject, remaining(history, [one.id])
