"""The whole idea: act, observe, learn, sleep.

An agent acts on a prompt that is compiled from its context. What is said about its episodes becomes evidence
and regression cases. Proposers turn evidence into edits, a gate judges each edit by replay, and only an accepted
edit moves a head. Sleep is learning again, over wider evidence. Everything else in this package is a room off
this corridor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tokenspace.budget import Budget
from tokenspace.context import apply, case_from, compile_context, edit_key, new_texts, recallable, splice, stamp
from tokenspace.domain import (
    Attempt,
    Context,
    Episode,
    Evidence,
    Feedback,
    Profile,
    Prompt,
    Proposal,
    Request,
    Scope,
    Session,
    Verdict,
    digest,
)  # fmt: skip
from tokenspace.errors import BudgetExceeded, EditError, StaleHead
from tokenspace.protocols import Agent, Gate, Proposer, Recall, Store

REBASES = 5
REJECTED_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the loop works with; `tokenspace.config.build` makes one."""

    store: Store
    recall: Recall
    agent: Agent
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepReport:
    """What one sleep tried, in order; `stopped` says why it ended before it was done, if it did."""

    attempts: tuple[Attempt, ...]
    stopped: str = ""


def render(recall: Recall, context: Context, request: Request, *, profile: Profile, now: datetime) -> Prompt:
    """The one way to a prompt, for act and for gates: so a gate tests the very bytes that will be served."""
    ranked = recall.rank(recallable(context), context.vectors, request.query)
    return compile_context(context, ranked, request, profile=profile, budget=profile.context_tokens, now=now)


async def act(
    run: Runtime, scope: Scope, request: Request, *, budget: Budget, session: str | None = None, branch: str = ""
) -> Episode:
    """Render, run, record. A session's prefix stays on the heads that it began with (I14)."""
    now, heads = run.clock(), run.store.heads(scope, branch=branch)
    context = run.store.context(scope, heads)
    if session:
        began = run.store.session(scope, session)
        run.store.save_session(Session(id=session, scope=scope, heads=began.heads if began else heads, last_seen=now))
        if began and began.heads != heads:
            context = splice(run.store.context(scope, began.heads), context)
    prompt = render(run.recall, context, request, profile=run.agent.profile, now=now)
    done = await run.agent.run(prompt, budget=budget)
    episode = Episode(
        scope=scope, heads=heads, request=request, run=done, shown=prompt.included, session=session, at=now
    )
    run.store.record(episode)
    return episode


def observe(run: Runtime, feedback: Feedback) -> None:
    """Keep what is said about an episode, now or weeks later; a correction is also a regression test from here on."""
    episode = run.store.episode(feedback.scope, feedback.episode)
    run.store.add_feedback(feedback, case_from(feedback, episode))


async def learn(
    run: Runtime, proposer: Proposer, gate: Gate, *, feedback: Sequence[Feedback], budget: Budget, branch: str = ""
) -> Attempt | None:
    """Propose from feedback of one scope, judge, commit. None if there was nothing to propose."""
    scope, ids = feedback[0].scope, tuple(sorted(item.id for item in feedback))
    heads = run.store.heads(scope, branch=branch)
    evidence = _evidence(run.store, scope, run.store.context(scope, heads), feedback)
    tried = [attempt.id for attempt in evidence.rejected] if proposer.reach == "all" else []
    key = digest([heads, proposer.name, ids, tried, gate.name])
    for known in run.store.attempts(scope, key=key):
        if known.verdict.decision != "defer":
            return known
    blank = Attempt(scope=scope, key=key, edit_key="", proposer=proposer.name, heads=heads, evidence=ids, edit=None,
                    verdict=Verdict(decision="reject", basis="policy", reason=""), at=run.clock())  # fmt: skip
    try:
        edit = await proposer.propose(evidence, budget=budget)
    except EditError as error:
        failed = replace(blank, verdict=replace(blank.verdict, reason=f"the proposal cannot be used: {error}"))
        run.store.save_attempt(failed)
        return failed
    return None if edit is None else await judge(run, gate, replace(blank, edit=edit), budget=budget, branch=branch)


async def judge(run: Runtime, gate: Gate, attempt: Attempt, *, budget: Budget, branch: str = "") -> Attempt:
    """Judge an attempt's edit against the context that stands now, and commit it if it is accepted.

    A deferred attempt may be judged again at any time. When the head moves meanwhile, judge anew (I2): replays
    whose compiled bytes did not change are remembered, and cost nothing.
    """
    assert attempt.edit is not None
    scope = attempt.scope
    feedback = run.store.feedback(scope, ids=attempt.evidence)
    for _ in range(REBASES):
        heads = run.store.heads(scope, branch=branch)
        context = run.store.context(scope, heads)
        evidence = _evidence(run.store, scope, context, feedback)
        edit = stamp(attempt.edit, evidence)
        vectors = run.recall.index(new_texts(context, edit))
        same = run.store.attempts(scope, edit_key=edit_key(edit), decision="defer")
        try:
            candidate = apply(context, edit, vectors=vectors)
        except EditError as error:
            verdict = Verdict(decision="reject", basis="policy", reason=f"it no longer applies: {error}")
        else:
            proposal = Proposal(edit=edit, evidence=evidence, incumbent=context, candidate=candidate,
                                previous=same[-1] if same else None)  # fmt: skip
            verdict = await gate.judge(proposal, budget=budget)
        judged = replace(attempt, edit=edit, edit_key=edit_key(edit), verdict=verdict, at=run.clock())
        if verdict.decision != "accept":
            run.store.save_attempt(judged)
            return judged
        try:
            made = run.store.commit(scope, edit, verdict, expect=heads.of(scope), author=attempt.proposer,
                                    branch=branch, vectors=vectors, attempt=judged)  # fmt: skip
            return replace(judged, revision=made.id)
        except StaleHead:
            continue
    raise StaleHead(f"the head of {scope} moved {REBASES} times while an edit was judged", hint="run it again")


async def sleep(
    run: Runtime, scope: Scope, proposers: Sequence[Proposer], gate: Gate, *, budget: Budget, again: Budget,
    on_attempt: Callable[[Attempt], None] = lambda _: None, branch: str = "",
) -> SleepReport:  # fmt: skip
    """Learn from what was not learned yet, judge again what was deferred (out of `again`), then look at everything."""
    done: list[Attempt] = []

    def keep(attempt: Attempt | None) -> None:
        if attempt is not None:
            done.append(attempt)
            on_attempt(attempt)

    try:
        for proposer in proposers:
            for item in _unseen(run.store, scope, proposer):
                keep(await learn(run, proposer, gate, feedback=[item], budget=budget, branch=branch))
        for held in run.store.attempts(scope, decision="defer"):
            judged = await judge(run, gate, held, budget=again, branch=branch)
            keep(judged if judged.verdict.decision != "defer" else None)
        for proposer in proposers:
            everything = run.store.feedback(scope) if proposer.reach == "all" else []
            while everything and (
                attempt := await learn(run, proposer, gate, feedback=everything, budget=budget, branch=branch)
            ):
                keep(attempt)
                if attempt.verdict.decision == "defer":
                    break  # the same proposal would come again
    except BudgetExceeded as error:
        return SleepReport(attempts=tuple(done), stopped=f"{error}")
    return SleepReport(attempts=tuple(done))


def _evidence(store: Store, scope: Scope, context: Context, feedback: Sequence[Feedback]) -> Evidence:
    episodes = {item.episode: store.episode(scope, item.episode) for item in feedback}
    rejected = tuple(store.attempts(scope, decision="reject", limit=REJECTED_SHOWN))
    return Evidence(scope=scope, context=context, feedback=tuple(feedback), episodes=episodes, rejected=rejected)


def _unseen(store: Store, scope: Scope, proposer: Proposer) -> Iterable[Feedback]:
    if proposer.reach == "all":
        return []
    seen = {id for attempt in store.attempts(scope) if attempt.proposer == proposer.name for id in attempt.evidence}
    return [item for item in store.feedback(scope) if item.id not in seen]
