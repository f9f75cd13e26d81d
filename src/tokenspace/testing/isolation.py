"""Isolation of a store: whatever is called for one scope tells nothing of another, and changes nothing in it.

`check_methods` calls every method of `protocols.Store` for each of several scopes, with the ids of each other, after
the same ids were used in all of them for different, recognisable texts. `interferences` runs random programs for one
user with and without other users' random programs between their steps, and compares every answer byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from tokenspace.domain import Attempt, Drop, Heads, Message, Outcome, Put, Reading, Request, Run, Scope, Session
from tokenspace.errors import TokenspaceError
from tokenspace.protocols import Store
from tokenspace.testing import programs
from tokenspace.testing.samples import (
    ACCEPT,
    BASE,
    NOW,
    OTHERS,
    TENANT,
    USER,
    a_canary,
    a_case,
    a_feedback,
    an_attempt,
    an_episode,
    commit,
    rule,
)

OTHER_TENANT: Final = Scope(agent="desk", tenant="globex")
NOBODY: Final = Scope(agent="desk", tenant="initech", user="carol")
FILLED: Final = (BASE, TENANT, OTHER_TENANT, USER, *OTHERS, Scope(agent="other"))
UNKNOWN: Final = "0123456789abcdef0123456789abcdef"

Call = Callable[[Store, Scope, "Planted"], object]


@dataclass(kw_only=True)
class Planted:
    """What was written to one scope: a word that is nowhere else, and the ids that the store made."""

    scope: Scope
    word: str
    revision: str = ""
    watched: str = ""
    canary: Any = None


@dataclass(kw_only=True)
class Found:
    """How many calls were made, and what they told or changed that they should not have."""

    calls: int = 0
    hits: list[str] = field(default_factory=list[str])


def plant(store: Store, scope: Scope) -> Planted:
    """Fill a scope with one thing of each kind, its word in each, under ids that every scope uses."""
    word = "canary-" + "-".join(part or "all" for part in (scope.agent, scope.tenant, scope.user)) + "-end"
    made = Planted(scope=scope, word=word)
    entry = rule(word, id="1" * 32, trigger=word)
    first = commit(store, scope, Put(entry=entry), why=word, evidence=("source",), vectors={entry.id: word.encode()})
    store.create_branch(scope, "draft")
    commit(store, scope, Put(entry=rule(word, id="2" * 32)), branch="draft", why=word)
    commit(store, scope, Drop(id=entry.id), branch="draft", why=word)
    made.revision = first.id
    request = Request(messages=(Message(role="user", text=word),))
    store.record_all([an_episode(scope, id="episode", request=request, run=Run(output=word))], answers={"episode": "a"})
    said = a_feedback(scope=scope, id="feedback", value=word)
    store.add_feedback(said, a_case(scope=scope, id="case", request=request))
    verdict = replace(ACCEPT, decision="defer", reason=word)
    store.save_attempt(an_attempt("key", id="attempt", scope=scope, decision="defer", verdict=verdict))
    store.save_outcome(scope, Outcome(key="replay", case="case", run=Run(output=word)))
    made.canary = a_canary(store, scope, id="watch", reason=word)
    made.watched = made.canary.revision
    store.save_canary(made.canary)
    for number in range(1 + FILLED.index(scope)):  # more of some things than any other scope has
        store.add_reading(made.canary, Reading(episode=f"{word} {number}", treated=True, score=0.5, at=NOW))
        store.save_attempt(an_attempt(f"key {number}", id=f"attempt {number}", scope=scope))
    store.note_answer(scope, "b", word)
    store.save_anchor(scope, "chain", word)
    store.save_session(Session(id="session", scope=scope, heads=Heads(base=made.revision), last_seen=NOW))
    return made


def _accepted(scope: Scope) -> Attempt:
    return an_attempt("new", scope=scope, decision="accept")


def _at(store: Store, scope: Scope, id: str) -> Heads:
    layer = ("base", "tenant", "user")[len(scope.layers) - 1]
    return replace(store.heads(scope), **{layer: id})


READS: Final[Mapping[str, Call]] = {
    "heads": lambda store, scope, _: [store.heads(scope), store.heads(scope, branch="draft")],
    "context": lambda store, scope, it: [
        store.context(scope, _at(store, scope, it.revision)),
        store.context(scope, store.heads(scope, branch="draft")),
    ],
    "revision": lambda store, scope, it: store.revision(scope, it.revision),
    "log": lambda store, scope, _: [store.log(scope), store.log(scope, branch="draft")],
    "blame": lambda store, scope, it: store.blame(scope, _at(store, scope, it.watched)),
    "derived": lambda store, scope, _: store.derived(scope, "source"),
    "branches": lambda store, scope, _: store.branches(scope),
    "episode": lambda store, scope, _: store.episode(scope, "episode"),
    "episodes": lambda store, scope, _: store.episodes(scope),
    "feedback": lambda store, scope, _: [store.feedback(scope), store.feedback(scope, ids=["feedback"])],
    "cases": lambda store, scope, _: store.cases(scope),
    "attempts": lambda store, scope, _: [
        store.attempts(scope),
        store.attempts(scope, key="key", edit_key="e"),
        store.attempts(scope, decision="defer"),
    ],
    "unseen": lambda store, scope, _: store.unseen(scope, proposer="p@1"),
    "outcome": lambda store, scope, _: store.outcome(scope, "replay"),
    "canaries": lambda store, scope, _: [store.canaries(scope), store.canaries(scope, ended=True)],
    "readings": lambda store, scope, it: store.readings(replace(it.canary, scope=scope)),
    "episode_of": lambda store, scope, _: [store.episode_of(scope, "a"), store.episode_of(scope, "b")],
    "anchors": lambda store, scope, _: store.anchors(scope, ["chain", "other"]),
    "session": lambda store, scope, _: store.session(scope, "session"),
}
"""What is asked of each method that reads, with ids of somebody else's."""

WRITES: Final[Mapping[str, Call]] = {
    "commit": lambda store, scope, _: [
        commit(store, scope, Put(entry=rule("mine", id="1" * 32)), attempt=_accepted(scope)),
        commit(store, scope, Put(entry=rule("again", id="1" * 32)), attempt=_accepted(scope)),
        commit(store, scope, Put(entry=rule("mine", id="1" * 32)), Drop(id="2" * 32), branch="draft"),
    ],
    "create_branch": lambda store, scope, _: store.create_branch(scope, "mine"),
    "drop_branch": lambda store, scope, _: store.drop_branch(scope, "draft"),
    "record": lambda store, scope, _: store.record(an_episode(scope, id="episode")),
    "record_all": lambda store, scope, _: store.record_all([an_episode(scope, id="more")], answers={"more": "a"}),
    "add_feedback": lambda store, scope, _: store.add_feedback(a_feedback(scope=scope, id="more"), None),
    "pin": lambda store, scope, _: store.pin(scope, "case"),
    "save_attempt": lambda store, scope, _: store.save_attempt(an_attempt("key", id="attempt", scope=scope)),
    "save_outcome": lambda store, scope, _: store.save_outcome(
        scope, Outcome(key="replay", case="mine", run=Run(output="mine"))),
    "save_canary": lambda store, scope, it: store.save_canary(replace(it.canary, scope=scope, state="stopped")),
    "add_reading": lambda store, scope, it: store.add_reading(
        replace(it.canary, scope=scope), Reading(episode="mine", treated=False, score=0.0, at=NOW)),
    "note_answer": lambda store, scope, _: store.note_answer(scope, "a", "mine"),
    "save_anchor": lambda store, scope, _: store.save_anchor(scope, "chain", "mine"),
    "drop_anchors": lambda store, scope, _: store.drop_anchors(scope, NOW + timedelta(days=100_000)),
    "save_session": lambda store, scope, _: store.save_session(
        Session(id="session", scope=scope, heads=Heads(), last_seen=NOW + timedelta(days=1))),
}  # fmt: skip
"""A change by each method that writes, to what somebody else has under the same id."""

NEITHER: Final = frozenset({"together", "steady", "close"})
"""Methods that take and give nothing of a scope."""


LAYERED: Final = frozenset({"heads", "context", "revision", "blame", "canaries"})
"""Methods that tell a scope of the layers which it inherits; all others tell of exactly the scope."""


def check_methods(make_store: Callable[[], Store], *, scopes: Iterable[Scope] = (*FILLED, NOBODY)) -> Found:
    """Call every method for every scope with the ids of every other one; what it told or changed is in `hits`."""
    store, found = make_store(), Found()
    try:
        found.hits += probe(store, found, scopes=tuple(scopes))
    finally:
        store.close()
    return found


def probe(store: Store, found: Found, *, scopes: tuple[Scope, ...]) -> Iterator[str]:
    """Fill an empty store and yield each hit as it is found, counting calls in `found`; one may stop at the first."""
    planted = {scope: plant(store, scope) for scope in FILLED}
    for scope in scopes:
        for name, call in READS.items():
            told = scope.layers if name in LAYERED else (scope,)
            foreign = [it for it in planted.values() if it.scope not in told]
            for it in foreign:
                found.calls += 1
                yield from (f"{name} in {scope} {how}" for how in _told(store, scope, call, it, foreign))
    states = {scope: all_of(store, scope) for scope in FILLED}
    for name, call in WRITES.items():
        for scope in scopes:
            it = planted[USER if scope != USER else OTHERS[0]]
            answer(lambda: call(store, scope, it))  # noqa: B023 - called at once
            found.calls += 1
            for other, was in states.items():
                states[other] = all_of(store, other)
                if scope not in other.layers and states[other] != was:
                    yield f"{name} in {scope} changed {other}"


def answer(call: Callable[[], object]) -> str:
    """What a caller gets to see: the value, or the error in words."""
    try:
        return repr(call())
    except TokenspaceError as error:
        return f"{type(error).__name__}: {error} ({error.hint})"


def _told(store: Store, scope: Scope, call: Call, it: Planted, foreign: Iterable[Planted]) -> Iterable[str]:
    """Foreign words and ids in an answer, and an answer that differs from that to an id which nobody has."""
    said = answer(lambda: call(store, scope, it))
    for other in foreign:
        asked = {it.revision, it.watched}  # the caller said these itself
        for mark in {other.word, other.revision, other.watched} - asked:
            if mark in said:
                yield f"told {mark!r} of {other.scope}"
    nobody = replace(it, revision=UNKNOWN, watched=UNKNOWN)
    unknown = answer(lambda: call(store, scope, nobody))
    if said.replace(it.revision, UNKNOWN).replace(it.watched, UNKNOWN) != unknown:
        yield f"answered otherwise for an id of {it.scope} than for one that nobody has"


def all_of(store: Store, scope: Scope) -> str:
    """Everything that can be read of a scope itself."""
    heads = store.heads(scope)
    own = Planted(scope=scope, word="", revision=heads.of(scope) or "", watched=heads.of(scope) or "")
    own.canary = a_canary_of(scope)
    return "\n".join(f"{name}: {answer(lambda: call(store, scope, own))}" for name, call in READS.items())  # noqa: B023


def a_canary_of(scope: Scope) -> Any:
    """The canary that `plant` saves, as far as a reader must name it."""
    from tokenspace.domain import Canary

    return Canary(id="watch", scope=scope, branch="b", revision="", share=0.5, rate=0.5, at=NOW)


# ── noninterference ─────────────────────────────────────────────────────────────────────────

MINE: Final = (BASE, TENANT, USER)
THEIRS: Final = (*OTHERS, OTHER_TENANT, Scope(agent="other", tenant="acme"), Scope(agent="other"))
STEPS: Final = 8


def interferences(make_store: Callable[[], Store], *, programs: int = 200, seed: int = 0) -> list[str]:
    """Run programs of one user on two stores, on one of them among others' programs; where an answer differs.

    All programs of a run share the two stores, each with agents of its own: so what others wrote grows. Ids that a
    store makes are named by their order; times of commits are left out, as they are in `check_random_programs`.
    """
    alone, among = make_store(), make_store()
    found: list[str] = []
    try:
        for number in range(seed, seed + programs):
            said, again = _program(alone, number, others=False), _program(among, number, others=True)
            for step, (one, other) in enumerate(zip(said, again, strict=True)):
                if one.encode() != other.encode():
                    found.append(f"program {number}, answer {step}: {other[:300]} and not {one[:300]}")
                    break
    finally:
        alone.close()
        among.close()
    return found


def _program(store: Store, number: int, *, others: bool) -> list[str]:
    chance, theirs = random.Random(number), random.Random(-1 - number)  # noqa: S311 - repeatable, not secret
    entries = [f"{number:08x}{each:024x}" for each in range(5)]
    me, them, said = programs.Runner(store), programs.Runner(store), list[str]()
    for _ in range(STEPS):
        if others:
            for _ in range(theirs.randint(1, 2)):
                them.do(_placed(theirs, entries, THEIRS, number))
        said.append(me.do(_placed(chance, entries, MINE, number)))
    for scope in MINE:
        seen = me.observe(_named(scope, number), "")
        said += [f"{name}: {value}" for name, value in sorted(seen.items())]
    return said


def _named(scope: Scope, number: int) -> Scope:
    return Scope(agent=f"{scope.agent}-{number}", tenant=scope.tenant, user=scope.user)


def _placed(chance: random.Random, entries: list[str], scopes: tuple[Scope, ...], number: int) -> programs.Action:
    """A random action in one of these scopes; ids in it are drawn too, so that it can be drawn again."""
    kind, _, what = programs.action(chance, entries)
    scope = _named(chance.choice(scopes), number)
    if kind in {"record", "attempt"}:
        what = replace(what, scope=scope)
    if kind == "record":
        what = replace(what, id=f"{chance.getrandbits(16):032x}")
    elif kind == "attempt":
        what = replace(what, id=what.key)
    elif kind in {"commit", "stale"}:
        branch, ops, keys, vectors = what
        what = (branch, ops, [key if len(key) == 1 else f"{chance.getrandbits(16):032x}" for key in keys], vectors)
    return kind, scope, what
