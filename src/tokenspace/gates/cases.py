"""Which cases may test an edit."""

from __future__ import annotations

from datetime import datetime

from tokenspace.canary import chance
from tokenspace.context import edit_key
from tokenspace.domain import Attempt, Case, Context, Kind, Proposal, Put, digest
from tokenspace.gates.settings import GateSettings


def fit_to_test(
    proposal: Proposal, cases: list[Case], attempts: list[Attempt], *, settings: GateSettings, now: datetime
) -> tuple[Case, ...]:
    """Verified replay cases that the proposer did not see (I7), one for each cluster, in an order fixed for the edit.

    Those of an earlier try of the same edit come first, in their old order, so that its evidence goes on instead
    of starting afresh.
    """
    seen = {*proposal.edit.evidence, *proposal.edit.read}
    unverified = _unverified(attempts, proposal.incumbent) - seen
    before = {id: place for place, id in enumerate(proposal.previous.verdict.cases if proposal.previous else ())}
    key = edit_key(proposal.edit)

    def order(case: Case) -> tuple[bool, int, str]:
        return not case.pinned, before.get(case.id, len(before)), digest([key, settings.seed, case.id])

    pool = [case for case in in_pool(cases, settings=settings, now=now) if not unverified.intersection(case.sources)]
    unseen = [case for case in pool if not seen.intersection((case.id, *case.sources))]
    return one_of_each(sorted(unseen, key=order))


def in_pool(cases: list[Case], *, settings: GateSettings, now: datetime) -> list[Case]:
    """The cases that tests of edits may use this month: not the sealed ones, and not those that rest.

    A large pool loses a sealed part for ever and another part each month, by a hash of the cluster, so that near
    copies stay together. Pinned cases always test.
    """
    open_ = [case for case in cases if case.split == "replay"]
    if len({case.cluster for case in open_}) < settings.large_pool:
        return open_
    month = (now.year * 12 + now.month) % settings.resting_parts

    def rests(case: Case) -> bool:
        return int(chance("rest", str(settings.seed), case.cluster) * settings.resting_parts) == month

    return [case for case in open_ if case.pinned or not (sealed(case, settings) or rests(case))]


def sealed(case: Case, settings: GateSettings) -> bool:
    """Whether a case of a large pool is kept for release checks, or was put there by its author."""
    return case.split == "sealed" or chance("sealed", str(settings.seed), case.cluster) < settings.sealed_share


def one_of_each(cases: list[Case]) -> tuple[Case, ...]:
    """The first case of each cluster, in the order given.

    Near copies that expect different things contradict each other, and test nothing until one of them is gone.
    """
    clusters: dict[str, list[Case]] = {}
    for case in cases:
        clusters.setdefault(case.cluster, []).append(case)
    return tuple(alike[0] for alike in clusters.values() if all(one.grader == alike[0].grader for one in alike))


def _unverified(attempts: list[Attempt], incumbent: Context) -> frozenset[str]:
    """Evidence whose own example is not served (held back, rejected or retired): its case tests nothing."""
    served = {(one.trigger, one.text) for one in incumbent.entries if one.kind is Kind.EXAMPLE}
    return frozenset(
        source
        for attempt in attempts
        if attempt.edit is not None
        for op in attempt.edit.ops
        if isinstance(op, Put) and op.entry.kind is Kind.EXAMPLE and (op.entry.trigger, op.entry.text) not in served
        for source in attempt.edit.evidence
    )
