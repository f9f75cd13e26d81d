"""Which cases may test an edit."""

from __future__ import annotations

from tokenspace.context import edit_key
from tokenspace.domain import Attempt, Case, Context, Kind, Proposal, Put, digest


def fit_to_test(proposal: Proposal, cases: list[Case], attempts: list[Attempt], *, seed: int) -> tuple[Case, ...]:
    """Verified replay cases that the proposer did not see (I7), one for each cluster, in an order fixed for the edit.

    Those of an earlier try of the same edit come first, in their old order, so that its evidence goes on instead
    of starting afresh.
    """
    seen = {*proposal.edit.evidence, *proposal.edit.read}
    unverified = _unverified(attempts, proposal.incumbent) - seen
    before = {id: place for place, id in enumerate(proposal.previous.verdict.cases if proposal.previous else ())}
    key = edit_key(proposal.edit)

    def order(case: Case) -> tuple[bool, int, str]:
        return not case.pinned, before.get(case.id, len(before)), digest([key, seed, case.id])

    clusters: dict[str, list[Case]] = {}
    for case in sorted(cases, key=order):
        known = seen.intersection((case.id, *case.sources))
        if case.split == "replay" and not known and not unverified.intersection(case.sources):
            clusters.setdefault(case.cluster, []).append(case)
    # Near copies that expect different things contradict each other, and test nothing until one of them is gone.
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
