"""What one sleep remembers: the whole history of a scope, read once, and an edit that waits is one attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tokenspace.context import Past, continued
from tokenspace.domain import Context, Evidence, Heads, Layer, Verdict
from tokenspace.errors import NotFound
from tokenspace.store import open_store
from tokenspace.testing.samples import NOW, USER, a_feedback, an_attempt, an_episode


class Counting:
    """A store that counts the reads of its methods."""

    def __init__(self) -> None:
        self.inner, self.reads = open_store("memory:"), []

    def __getattr__(self, name):
        def call(*args, **more):
            self.reads.append(name)
            return getattr(self.inner, name)(*args, **more)

        return call


def tried(number: int, decision: str = "reject", **more):
    fields = {"scope": USER, "verdict": Verdict(decision=decision), "at": NOW + timedelta(seconds=number), **more}
    return replace(an_attempt(f"{number:064x}"), **fields)


def keys(attempts) -> list[str]:
    return [one.key for one in attempts]


def test_the_history_is_all_of_it_and_read_only_if_somebody_asks():
    store = Counting()
    for number in range(5):
        store.inner.save_attempt(tried(number, ("reject", "defer", "abstain")[number % 3]))
    past = Past(store, USER)
    assert keys(past.newest("reject", 1)) == [tried(3).key]
    assert len(store.reads) == 1
    assert keys(past.attempts()) == [tried(number).key for number in (0, 1, 3, 4)]
    reads = len(store.reads)
    assert len([*past.attempts()]) == 4
    assert len(store.reads) == reads


def test_what_is_tried_or_judged_again_meanwhile_is_among_the_newest():
    store = Counting()
    for number in range(3):
        store.inner.save_attempt(tried(number, "defer"))
    past = Past(store, USER)
    assert len([*past.attempts()]) == 3
    store.inner.save_attempt(replace(tried(0, "reject"), at=NOW + timedelta(hours=1)))
    store.inner.save_attempt(tried(9, "reject"))
    past.newest("reject", 100)
    assert [(one.key, one.verdict.decision) for one in past.attempts()] == [
        (tried(1).key, "defer"), (tried(2).key, "defer"), (tried(9).key, "reject"), (tried(0).key, "reject"),
    ]  # fmt: skip


def test_an_episode_is_read_once():
    store = Counting()
    episode = an_episode(scope=USER)
    store.inner.record(episode)
    said, past = a_feedback(scope=USER, episode=episode.id), Past(store, USER)
    assert past.episodes([said, said]) == past.episodes([said]) == {episode.id: episode}
    assert store.reads == ["episode"]
    with pytest.raises(NotFound):
        past.episodes([replace(said, episode="0" * 32)])


def test_evidence_tells_all_that_was_tried_and_shows_the_newest():
    every = [tried(number, ("reject", "defer", "accept")[number % 3]) for number in range(300)]
    nothing = Context(scope=USER, heads=Heads(), layers=(Layer(),))
    evidence = Evidence(scope=USER, context=nothing, feedback=(), episodes={}, rejected=(every[297],), held=(every[1],))
    assert evidence.tried() == [every[1], every[297]]  # there is no more to know of
    whole = replace(evidence, past=lambda: [tried(999, "abstain"), *every])
    assert whole.tried() == every
    assert whole.tried("reject") == every[::3]
    assert whole.tried("defer", "accept") == [one for one in every if one.verdict.decision != "reject"]


def test_an_edit_that_waits_is_one_attempt():
    first = tried(1, "defer", evidence=("f1",))
    again = tried(2, "defer", evidence=("f1", "f2"))
    made = continued(again, [first])
    assert (made.id, made.key, made.evidence, made.at) == (first.id, first.key, again.evidence, again.at)
    others = (
        replace(first, evidence=("f9",)),  # what somebody else said stays on its own
        replace(first, proposer="other@1"),
        replace(first, branch="trial"),
        replace(first, verdict=Verdict(decision="reject")),
    )
    assert continued(again, others) == again
    assert continued(again, [first, again]) == again  # it is on record itself
