"""The checks of a store's canaries and their readings, and of what a proposer has not yet tried (see `store`)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from tokenspace.domain import CanaryState, Put, Reading, Verdict, new_id
from tokenspace.errors import BadData, NotFound
from tokenspace.protocols import Store
from tokenspace.testing.samples import (
    ACCEPT,
    BASE,
    NOW,
    OTHERS,
    TENANT,
    USER,
    a_canary,
    a_feedback,
    an_attempt,
    commit,
    refuses,
    rule,
)

ENDS: Final[tuple[CanaryState, ...]] = ("kept", "stopped")


def canaries_are_seen_from_below(store: Store) -> None:
    """I8: a scope sees the live canaries of its own layer and of those it inherits, oldest first, and no others."""
    shared = a_canary(store, BASE, at=NOW + timedelta(seconds=2), share=0.25)
    tenant = a_canary(store, TENANT, at=NOW + timedelta(seconds=1), promoted=new_id(), state="served")
    own = a_canary(store, USER, at=NOW + timedelta(seconds=1), id="f" * 32, reason="because")
    twin = replace(own, scope=OTHERS[0], branch="another line")
    for canary in (shared, tenant, own, twin):
        store.save_canary(canary)
        store.save_canary(canary)
    assert store.canaries(USER) == [tenant, own, shared] == store.canaries(USER, ended=True)
    assert store.canaries(OTHERS[0]) == [tenant, twin, shared]
    assert store.canaries(TENANT) == [tenant, shared]
    assert store.canaries(BASE) == store.canaries(OTHERS[1]) == [shared]
    assert store.canaries(OTHERS[2]) == []


def an_ended_canary_stays_as_it_is(store: Store) -> None:
    """A live canary is updated; the first end of one stays, and only those who ask for it see it."""
    trial = a_canary(store, TENANT)
    store.save_canary(trial)
    served = replace(trial, state="served", share=0.5, promoted=new_id(), reason="wide enough")
    store.save_canary(served)
    assert store.canaries(USER) == [served]
    for number, state in enumerate(ENDS):
        canary = replace(served, id=f"{number}" * 32, state="trial")
        ended = replace(canary, state=state, reason="for a reason")
        store.save_canary(canary)
        store.save_canary(ended)
        for late in (canary, served, *(replace(canary, state=end, reason="too late") for end in ENDS)):
            store.save_canary(replace(late, id=canary.id))
        assert store.canaries(USER) == [served], "a canary that ended is live again"
        assert ended in store.canaries(USER, ended=True), "the first end of a canary did not stay"
    assert len(store.canaries(TENANT, ended=True)) == 1 + len(ENDS)


def readings_are_kept_as_they_came(store: Store) -> None:
    """Readings come back in the order in which they were added, whatever their times; the first of an episode stays."""
    canary, other = a_canary(store, BASE), a_canary(store, BASE)
    store.save_canary(canary)
    store.save_canary(other)
    assert store.readings(canary) == []
    scores, readings = (1.0, 0.0, 1 / 3, 0.7), list[Reading]()
    for number, score in enumerate(scores):
        at = NOW - timedelta(seconds=number)
        readings.append(Reading(episode=new_id(), treated=number % 2 == 0, score=score, at=at))
        store.add_reading(canary, readings[-1])
        store.add_reading(canary, replace(readings[0], score=0.5, treated=False))
        assert store.readings(canary) == readings
    assert {type(one.treated) for one in store.readings(canary)} == {bool}
    store.add_reading(other, replace(readings[0], episode="by name"))
    store.save_canary(replace(canary, state="kept"))
    assert store.readings(replace(canary, state="kept")) == readings, "a canary lost its readings when it ended"
    assert store.readings(other) == [replace(readings[0], episode="by name")]


def unknown_canaries_have_no_readings(store: Store) -> None:
    """I8: a reading needs a canary of exactly the scope named, and a score that is a number from 0 to 1."""
    canary, reading = a_canary(store, TENANT), Reading(episode="e", treated=True, score=1.0, at=NOW)
    refuses(NotFound, "a canary never saved", lambda: store.add_reading(canary, reading))
    store.save_canary(canary)
    for scope in (BASE, USER, OTHERS[1], OTHERS[2]):
        elsewhere = replace(canary, scope=scope)
        refuses(NotFound, "a foreign canary", lambda c=elsewhere: store.add_reading(c, reading))
        assert store.readings(elsewhere) == []
    for score in (-0.1, 1.1, float("nan"), float("inf")):
        refuses(BadData, f"a score of {score}", lambda s=score: store.add_reading(canary, replace(reading, score=s)))
    assert store.readings(canary) == []


def unseen_is_what_nobody_was_about(store: Store) -> None:
    """Unseen by a proposer is the feedback that no attempt of it, on the served line or this branch, was about."""
    items = [a_feedback(at=NOW - timedelta(seconds=number), id=f"{number}" * 32) for number in range(6)]
    assert store.unseen(USER, proposer="p@1") == []
    for item in items:
        store.add_feedback(item, None)
    store.add_feedback(a_feedback(scope=TENANT), None)
    oldest = items[::-1]
    assert store.unseen(USER, proposer="p@1") == oldest
    store.save_attempt(an_attempt("a", evidence=(items[0].id, items[1].id)))
    store.save_attempt(an_attempt("b", evidence=(items[2].id,), branch="draft", verdict=Verdict(decision="abstain")))
    store.save_attempt(an_attempt("c", evidence=(items[3].id, "no such"), proposer="p@2"))
    store.save_attempt(an_attempt("d", evidence=(items[4].id,), scope=OTHERS[0]))
    committed = an_attempt("e", evidence=(items[5].id,), verdict=ACCEPT)
    commit(store, USER, Put(entry=rule("a")), attempt=committed)
    store.save_attempt(an_attempt("f"))
    two, three, four = items[2], items[3], items[4]
    assert store.unseen(USER, proposer="p@1") == [four, three, two]
    assert store.unseen(USER, proposer="p@1", branch="draft") == [four, three]
    assert store.unseen(USER, proposer="p@1", branch="another") == [four, three, two]
    assert store.unseen(USER, proposer="p@2", branch="draft") == [item for item in oldest if item != three]
    assert store.unseen(OTHERS[0], proposer="p@1") == []
