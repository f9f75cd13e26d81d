"""Samples for tests of stores: scopes, and the smallest thing of each kind, with any field overridden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from tokenspace.domain import (
    Attempt,
    Canary,
    Case,
    Decision,
    Edit,
    Entry,
    Episode,
    Feedback,
    GraderSpec,
    Heads,
    Kind,
    Message,
    Op,
    Origin,
    Put,
    Request,
    Revision,
    Run,
    Scope,
    Signal,
    Verdict,
    new_id,
)
from tokenspace.protocols import Store

T = TypeVar("T")

BASE: Final = Scope(agent="desk")
TENANT: Final = Scope(agent="desk", tenant="acme")
USER: Final = Scope(agent="desk", tenant="acme", user="alice")
OTHERS: Final = (
    Scope(agent="desk", tenant="acme", user="bob"),
    Scope(agent="desk", tenant="globex", user="alice"),
    Scope(agent="other", tenant="acme", user="alice"),
)
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ACCEPT: Final = Verdict(decision="accept", basis="human", reason="a person wrote it")


def _fill(kind: type[T], fields: dict[str, Any], /, **defaults: Any) -> T:
    return kind(**{**defaults, **fields})


def rule(text: str, **fields: Any) -> Entry:
    """A rule to commit."""
    return _fill(Entry, fields, kind=Kind.RULE, doc="rules", text=text, origin=Origin.USER)


def commit(store: Store, scope: Scope, *ops: Op, branch: str = "", **more: Any) -> Revision:
    """Commit operations on the head that stands."""
    expect = store.heads(scope, branch=branch).of(scope)
    edit = Edit(
        ops=ops, rationale=more.pop("why", "because"), evidence=more.pop("evidence", ()), read=more.pop("read", ())
    )
    verdict = more.pop("verdict", ACCEPT)
    return store.commit(scope, edit, verdict, expect=expect, author="tester", branch=branch, **more)


def texts(store: Store, scope: Scope, heads: Heads | None = None, *, branch: str = "") -> list[str]:
    """What is visible, sorted."""
    context = store.context(scope, heads or store.heads(scope, branch=branch))
    return sorted(entry.text for entry in context.entries)


def an_attempt(key: str, *, scope: Scope = USER, decision: Decision = "reject", **fields: Any) -> Attempt:
    """An attempt to remember."""
    verdict = replace(ACCEPT, decision=decision)
    named = {"scope": scope, "key": key, **fields}
    return _fill(Attempt, named, edit_key="e", proposer="p@1", heads=Heads(), verdict=verdict, at=NOW)


def an_episode(scope: Scope = USER, **fields: Any) -> Episode:
    """An episode to record."""
    request = Request(messages=(Message(role="user", text="where is my card?"),))
    return _fill(Episode, fields, scope=scope, heads=Heads(), request=request, run=Run(output="Falcon"), at=NOW)


def refuses(error: type[Exception], what: str, call: Callable[[], object]) -> None:
    """Assert that a call raises exactly such an error, with a hint."""
    try:
        call()
    except error as raised:
        hint = getattr(raised, "hint", "")
    else:
        raise AssertionError(f"{what} did not raise {error.__name__}")
    assert hint, f"{what} raised {error.__name__} without a hint"


def a_feedback(**fields: Any) -> Feedback:
    """A correction by ann."""
    signal = Signal.CORRECTION
    return _fill(Feedback, fields, scope=USER, episode="e", principal="ann", signal=signal, value="Heron", at=NOW)


def a_case(**fields: Any) -> Case:
    """A case with an exact answer."""
    request, grader = Request(messages=()), GraderSpec(name="exact", expected="Heron")
    return _fill(Case, fields, scope=USER, request=request, grader=grader, cluster="c", at=NOW)


def a_canary(store: Store, scope: Scope, **fields: Any) -> Canary:
    """A canary, not yet saved, of a revision that is: on a line of its own."""
    line = f"canary/{new_id()}"
    store.create_branch(scope, line)
    made = commit(store, scope, Put(entry=rule("watched")), branch=line)
    return _fill(Canary, fields, scope=scope, branch=line, revision=made.id, share=0.05, rate=0.7, at=NOW)
