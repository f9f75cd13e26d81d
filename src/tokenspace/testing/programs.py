"""Random programs of store operations, run on a store and on the reference in memory side by side."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from tokenspace.domain import (
    Canary,
    Drop,
    Edit,
    Entry,
    Op,
    Patch,
    Put,
    Reading,
    Restore,
    Scope,
    Session,
    Status,
    new_id,
)
from tokenspace.errors import TokenspaceError
from tokenspace.protocols import Store
from tokenspace.store import MemoryStore
from tokenspace.testing.samples import ACCEPT, BASE, NOW, OTHERS, TENANT, USER, an_attempt, an_episode, rule

PROGRAMS: Final = 12
STEPS: Final = 30
SCOPES: Final = (BASE, TENANT, USER, OTHERS[0])
BRANCHES: Final = ("", "", "", "draft")


def check_random_programs(make_store: Callable[[], Store], *, programs: int = PROGRAMS, seed: int = 0) -> None:
    """The same random program on this store and on MemoryStore gives equal observable states.

    Raises AssertionError that names the program and the step; the seed makes it repeatable.
    """
    for number in range(seed, seed + programs):
        store, reference = make_store(), MemoryStore()
        try:
            _run(number, Runner(store), Runner(reference))
        finally:
            store.close()


def _run(number: int, left: Runner, right: Runner) -> None:
    chance = random.Random(number)  # noqa: S311 - a repeatable program, not a secret
    entries = [new_id() for _ in range(5)]
    for step in range(STEPS):
        drawn = action(chance, entries)
        said, wanted = left.do(drawn), right.do(drawn)
        assert said == wanted, f"random program {number}, step {step}: {drawn} gave {said!r} and not {wanted!r}"
    for scope in SCOPES:
        for branch in ("", "draft"):
            for name, seen in left.observe(scope, branch).items():
                wanted = right.observe(scope, branch).get(name)
                where = f"random program {number}: {name} of {scope} {branch}".rstrip()
                assert seen == wanted, f"{where} is\n{seen}\nand not\n{wanted}"


Action = tuple[str, Scope, Any]


def action(chance: random.Random, entries: list[str]) -> Action:
    """What to do next, in words that mean the same on both stores."""
    scope = chance.choice(SCOPES)
    kind = chance.choices(
        ["commit", "stale", "create", "drop", "record", "attempt", "session", "canary", "reading"],
        [12, 1, 1, 1, 1, 2, 1, 2, 2],
    )[0]  # fmt: skip
    if kind in {"commit", "stale"}:
        ops = tuple(_op(chance, id) for id in chance.sample(entries, chance.randint(1, 3)))
        keys = chance.sample(["k", "l", "m", new_id()], 1) if chance.random() < 0.3 else []
        vectors = {id: chance.randbytes(4) for id in entries if chance.random() < 0.3}
        return (kind, scope, (chance.choice(BRANCHES), ops, keys, vectors))
    return (kind, scope, _what(chance, kind, scope))


def _what(chance: random.Random, kind: str, scope: Scope) -> Any:
    """What the action is about."""
    match kind:
        case "record":
            what: Any = an_episode(scope, at=NOW + timedelta(seconds=chance.randint(0, 3)))
        case "attempt":
            key, decision = chance.choice("klm"), chance.choice(["reject", "defer"])
            what = an_attempt(key, id=key, scope=scope, decision=decision)  # pyright: ignore[reportArgumentType]
        case "session":
            what = NOW + timedelta(seconds=chance.randint(0, 9))
        case "canary":
            what = (chance.choice("ab"), chance.choices(["trial", "served", "kept"], [3, 3, 1])[0])
        case "reading":
            score, treated = chance.random(), chance.random() < 0.5
            what = (chance.choice("ab"), Reading(episode=chance.choice("efg"), treated=treated, score=score, at=NOW))
        case _:
            what = "draft"
    return what


def _op(chance: random.Random, id: str) -> Op:
    text = chance.choice(["one", "two", "three"])
    changes: dict[str, Any] = chance.choice([{"text": text}, {"status": Status.DRAFT}, {"pos": chance.randint(0, 9)}])
    ops: list[Op] = [Put(entry=rule(text, id=id)), Patch(id=id, changes=changes), Drop(id=id), Restore(id=id)]
    return chance.choices(ops, [4, 3, 2, 1])[0]


class Runner:
    """Runs actions on one store; revisions are named by the order in which they were made."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names: dict[str, str] = {}

    def do(self, action: Action) -> str:
        """What came of it, in words that mean the same on both stores."""
        kind, scope, what = action
        try:
            made = getattr(self, f"_{kind}")(scope, what)
        except TokenspaceError as error:
            return type(error).__name__
        return self._renamed(made)

    def observe(self, scope: Scope, branch: str) -> dict[str, str]:
        """All that can be read of a scope, by the name of what is read."""
        store = self.store
        try:
            heads = store.heads(scope, branch=branch)
        except TokenspaceError as error:
            return {"heads": type(error).__name__}
        log = store.log(scope, branch=branch)
        layer = ("base", "tenant", "user")[len(scope.layers) - 1]
        seen: dict[str, object] = {
            "heads": heads,
            "context": _plain(store.context(scope, heads)),
            "log": [replace(made, at=NOW) for made in log],
            "past": [_plain(store.context(scope, replace(heads, **{layer: made.id}))) for made in log],
            "derived": [made.id for made in store.derived(scope, "f")],
            "blame": sorted((id, replace(found, at=NOW)) for id, found in store.blame(scope, heads).items()),
            "branches": store.branches(scope),
            "episodes": store.episodes(scope),
            "attempts": store.attempts(scope),
            "session": store.session(scope, "s"),
            "canaries": store.canaries(scope),
            "ended": store.canaries(scope, ended=True),
            "readings": [store.readings(canary) for canary in store.canaries(scope, ended=True)],
        }
        return {name: self._renamed(value) for name, value in seen.items()}

    def _commit(self, scope: Scope, what: Any) -> object:
        branch = what[0]
        return self._put(scope, what, self.store.heads(scope, branch=branch).of(scope))

    def _stale(self, scope: Scope, what: Any) -> object:
        return self._put(scope, what, "0" * 32)

    def _put(self, scope: Scope, what: Any, expect: str | None) -> object:
        branch, ops, keys, vectors = what
        attempt = an_attempt(keys[0], id=keys[0], scope=scope, decision="accept") if keys else None
        edit = Edit(ops=ops, rationale="random", evidence=("f",), read=("g",))
        made = self.store.commit(
            scope, edit, ACCEPT, expect=expect, author="x", branch=branch, vectors=vectors, attempt=attempt
        )
        self.names.setdefault(made.id, f"revision {len(self.names)}")
        return replace(made, at=NOW)

    def _create(self, scope: Scope, name: str) -> object:
        return self.store.create_branch(scope, name)

    def _drop(self, scope: Scope, name: str) -> object:
        return self.store.drop_branch(scope, name)

    def _record(self, _scope: Scope, what: Any) -> object:
        return self.store.record(what)

    def _attempt(self, _scope: Scope, what: Any) -> object:
        return self.store.save_attempt(what)

    def _session(self, scope: Scope, at: Any) -> object:
        heads = self.store.heads(scope)
        return self.store.save_session(Session(id="s", scope=scope, heads=heads, last_seen=at))

    def _canary(self, scope: Scope, what: Any) -> object:
        id, state = what
        head = self.store.heads(scope).of(scope)
        if head is None:
            return "nothing to watch"
        canary = Canary(id=id, scope=scope, branch="b", revision=head, share=0.5, rate=0.5, state=state, at=NOW)
        return self.store.save_canary(canary)

    def _reading(self, scope: Scope, what: Any) -> object:
        id, reading = what
        canary = Canary(id=id, scope=scope, branch="b", revision="", share=0.5, rate=0.5, at=NOW)
        return self.store.add_reading(canary, reading)

    def _renamed(self, value: object) -> str:
        text = repr(value)
        for id, name in self.names.items():
            text = text.replace(id, name)
        return text


def _plain(context: Any) -> Any:
    layers = [(_sorted(layer.own), sorted(layer.hidden)) for layer in context.layers]
    return [layers, sorted(context.vectors.items())]


def _sorted(own: dict[str, Entry]) -> list[Entry]:
    return [own[id] for id in sorted(own)]
