"""Which failures belong together, and which of them are regretted most: what sleep looks at first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tokenspace.context.cases import cluster_of
from tokenspace.domain import Attempt, Entry, Evidence, Feedback, Kind, Signal
from tokenspace.protocols import Recall

MOST: Final = 400
"""So many of the newest pieces of feedback are looked at: clustering compares each with each."""

ALIKE: Final = 0.5
"""A request belongs to a cluster if it scores this share of what the cluster's first request scores against itself."""

NEWEST: Final = 8
"""Headroom is measured on so many of a cluster's newest outcomes, so that what was mended since has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Feedback about requests that are alike, oldest first, with at least one failure in it.

    `regret` = frequency × headroom × cost (learning.md): the share of all failures that are here, the mean loss of the
    newest outcomes, and the mean tokens of its episodes relative to all.
    """

    feedback: tuple[Feedback, ...]
    regret: float


def loss_of(feedback: Feedback) -> float | None:
    """How bad an episode was by what was said about it, in [0, 1]; None for words, which are no measurement.

    A correction says that the answer was wrong; a demonstration is of a success by somebody else.
    """
    match feedback.signal:
        case Signal.CORRECTION | Signal.EDIT | Signal.DEMONSTRATION:
            return 1.0
        case Signal.LABEL:
            return 0.0 if feedback.value is True else 1.0
        case Signal.SCORE if isinstance(feedback.value, int | float):
            return 1.0 - min(1.0, max(0.0, float(feedback.value)))
        case _:
            return None


def failure_clusters(
    recall: Recall, evidence: Evidence, attempts: Iterable[Attempt], *, by: str, branch: str
) -> list[Cluster]:
    """Clusters with failures and headroom, the most regretted first.

    A cluster of which an attempt `by` that proposer on this `branch` saw all is left out: nothing was added to it,
    though it may have lost some to the window, or to another cluster.
    """
    newest = list(evidence.feedback)[-MOST:]
    known = {frozenset(one.evidence) for one in attempts if (one.proposer, one.branch) == (by, branch)}
    failed = max(1, sum(map(_failed, newest)))
    mean_tokens = _tokens(newest, evidence)
    found: list[Cluster] = []
    for group in _groups(recall, newest, evidence):
        losses = [loss for item in group if (loss := loss_of(item)) is not None][-NEWEST:]
        headroom = sum(losses) / len(losses) if losses else 1.0
        frequency = sum(map(_failed, group)) / failed
        regret = frequency * headroom * _tokens(group, evidence) / mean_tokens
        if regret > 0 and not any(seen.issuperset(item.id for item in group) for seen in known):
            found.append(Cluster(feedback=tuple(group), regret=regret))
    return sorted(found, key=lambda one: (-one.regret, one.feedback[0].id))


def _failed(item: Feedback) -> bool:
    loss = loss_of(item)
    return loss is None or loss > 0


def _tokens(feedback: Sequence[Feedback], evidence: Evidence) -> float:
    """Mean tokens of the episodes, at least 1."""
    used = [evidence.episodes[item.episode].run.usage for item in feedback]
    return max(1.0, sum(one.input_tokens + one.output_tokens for one in used) / max(1, len(used)))


def _groups(recall: Recall, feedback: Sequence[Feedback], evidence: Evidence) -> Iterable[list[Feedback]]:
    """Greedy clusters: the first request that is left leads, and those most like it follow."""
    said: dict[str, list[Feedback]] = {}
    asked: dict[str, Entry] = {}
    for item in feedback:
        request = evidence.episodes[item.episode].request
        name = cluster_of(request)
        said.setdefault(name, []).append(item)
        asked.setdefault(name, Entry(id=name, kind=Kind.EXAMPLE, doc="", trigger=request.query, text=""))
    vectors = recall.index(list(asked.values()))
    left = dict(asked)
    while left:
        leader = next(iter(left.values()))
        ranked = recall.rank(list(left.values()), vectors, leader.trigger or "")
        own = next((one.score for one in ranked if one.id == leader.id), 0.0)
        alike = {one.id for one in ranked if own > 0 and one.score >= ALIKE * own} | {leader.id}
        members = [item for name in asked if name in alike and left.pop(name, None) for item in said[name]]
        yield sorted(members, key=lambda item: (item.at, item.id))
