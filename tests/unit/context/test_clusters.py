"""What sleep looks at first: failures that belong together, by what they cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tokenspace.context import failure_clusters, loss_of
from tokenspace.domain import (
    Attempt,
    Context,
    Episode,
    Evidence,
    Feedback,
    Heads,
    Layer,
    Message,
    Request,
    Run,
    Scope,
    Signal,
    Usage,
)
from tokenspace.recall import HashEmbedder, HybridRecall

SCOPE = Scope(agent="desk")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECALL = HybridRecall(HashEmbedder())


def _evidence(*said: tuple[str, Signal, str | float | bool], tokens: int = 100) -> Evidence:
    feedback, episodes = [], {}
    for place, (text, signal, value) in enumerate(said):
        at = NOON + timedelta(minutes=place)
        request = Request(messages=(Message(role="user", text=text),))
        episode = Episode(
            id=f"e{place}", scope=SCOPE, heads=Heads(), request=request, at=at,
            run=Run(output="x", usage=Usage(calls=1, input_tokens=tokens)),
        )  # fmt: skip
        episodes[episode.id] = episode
        feedback.append(
            Feedback(
                id=f"f{place}", scope=SCOPE, episode=episode.id, principal="ana", signal=signal, value=value, at=at
            )
        )
    context = Context(scope=SCOPE, heads=Heads(), layers=(Layer(),))
    return Evidence(scope=SCOPE, context=context, feedback=feedback, episodes=episodes)


def _found(evidence: Evidence, *seen: Attempt) -> list[tuple[str, ...]]:
    clusters = failure_clusters(RECALL, evidence, seen, by="reflect@1", branch="")
    return [tuple(item.id for item in one.feedback) for one in clusters]


REFUND = "refund my broken coffee grinder please"
INVOICE = "the invoice shows a wrong company address"


def test_requests_that_are_alike_come_together_and_the_most_frequent_failure_first() -> None:
    evidence = _evidence(
        (INVOICE, Signal.CORRECTION, "Basalt"),
        (REFUND, Signal.CORRECTION, "Kestrel"),
        (REFUND + " today", Signal.LABEL, False),
        (REFUND + " now", Signal.SCORE, 0.0),
    )
    assert _found(evidence) == [("f1", "f2", "f3"), ("f0",)]


def test_what_only_succeeds_has_no_headroom() -> None:
    assert _found(_evidence((REFUND, Signal.LABEL, True), (INVOICE, Signal.SCORE, 1.0))) == []


def test_what_was_mended_since_has_no_headroom() -> None:
    mended = [(f"{REFUND}", Signal.LABEL, True)] * 8
    assert _found(_evidence((REFUND, Signal.CORRECTION, "Kestrel"), *mended)) == []


def test_i3_a_cluster_to_which_nothing_was_added_is_not_looked_at_again() -> None:
    evidence = _evidence((REFUND, Signal.CORRECTION, "Kestrel"))
    tried = Attempt(scope=SCOPE, key="k", proposer="reflect@1", heads=Heads(), evidence=("f0",), at=NOON)
    assert _found(evidence, tried) == []
    grown = _evidence((REFUND, Signal.CORRECTION, "Kestrel"), (REFUND, Signal.CORRECTION, "Kestrel"))
    assert _found(grown, tried) == [("f0", "f1")]


def test_words_alone_are_a_failure_of_unknown_size() -> None:
    evidence = _evidence((REFUND, Signal.TEXT, "be kinder"))
    assert loss_of(evidence.feedback[0]) is None
    assert _found(evidence) == [("f0",)]


def test_a_cluster_that_lost_members_and_won_none_is_not_looked_at_again() -> None:
    evidence = _evidence((REFUND, Signal.CORRECTION, "Kestrel"), (REFUND + " now", Signal.CORRECTION, "Kestrel"))
    # What it was seen with has left the window since.
    tried = Attempt(scope=SCOPE, key="k", proposer="reflect@1", heads=Heads(), evidence=("f0", "f1", "gone"), at=NOON)
    assert _found(evidence, tried) == []
    assert _found(evidence, replace(tried, evidence=("f0", "gone"))) == [("f0", "f1")]
