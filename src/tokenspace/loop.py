"""The whole idea: act, observe, learn, sleep.

An agent acts on a prompt that is compiled from its context. What is said about its episodes becomes evidence and
regression cases. Proposers turn evidence into edits, a gate judges each edit by replay, and only an accepted edit
moves a head. Sleep is learning again, over wider evidence. All else in this package is a room off this corridor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tokenspace.budget import Budget
from tokenspace.canary import admit, assigned, harmed, note
from tokenspace.context import (Past, apply, case_from, compile_context, continued, edit_key, failure_clusters,
    new_texts, recallable, splice, stamp, steadily)  # fmt: skip
from tokenspace.domain import (Attempt, Context, Edit, Episode, Evidence, Feedback, Profile, Prompt, Proposal, Request,
    Scope, Session, Verdict, digest, new_id)  # fmt: skip
from tokenspace.errors import EditError, StaleHead
from tokenspace.protocols import Agent, Gate, Proposer, Recall, Store

REBASES, SHOWN = 5, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the loop works with (see `config.build`): it reads and writes `branch`, and has read `past` in a sleep."""

    store: Store
    recall: Recall
    agent: Agent
    clock: Callable[[], datetime]
    branch: str = ""
    past: Past | None = None


def render(recall: Recall, context: Context, request: Request, *, profile: Profile, now: datetime) -> Prompt:
    """The one way to a prompt, for act and for gates: so a gate tests the very bytes that will be served."""
    ranked = recall.rank(recallable(context), context.vectors, request.query)
    room = profile.context_tokens - request.max_output_tokens
    return compile_context(context, ranked, request, profile=profile, budget=room, now=now)


async def act(run: Runtime, scope: Scope, request: Request, *, budget: Budget, session: str | None = None) -> Episode:
    """Render, run, record. A session's prefix stays on the heads that it began with (I14)."""
    now, heads = run.clock(), assigned(run.store, scope, branch=run.branch, unit=session or new_id())
    context = run.store.context(scope, heads)
    if session:
        began = run.store.session(scope, session)
        run.store.save_session(Session(id=session, scope=scope, heads=began.heads if began else heads, last_seen=now))
        if began and began.heads != heads:
            prefix = run.store.context(scope, began.heads)
            context = context if harmed(run.store, prefix) else splice(prefix, context)
    prompt = render(run.recall, context, request, profile=run.agent.profile, now=now)
    done = await run.agent.run(prompt, budget=budget)
    episode = Episode(scope=scope, heads=heads, request=request, run=done, shown=prompt.included, taint=prompt.taint,
                      session=session, at=now)  # fmt: skip
    run.store.record(episode)
    return episode


def observe(run: Runtime, feedback: Feedback) -> None:
    """Keep what is said about an episode, now or weeks later; a correction is also a regression test from here on."""
    episode = run.store.episode(feedback.scope, feedback.episode)
    run.store.add_feedback(feedback, case_from(feedback, episode))
    note(run.store, feedback, episode)


@steadily
async def learn(
    run: Runtime, proposer: Proposer, gate: Gate, *, feedback: Sequence[Feedback], budget: Budget
) -> Attempt:
    """Propose from feedback of one scope, judge, commit. To have nothing to propose is a recorded attempt, too."""
    scope, ids = feedback[0].scope, tuple(sorted(item.id for item in feedback))
    evidence = _evidence(run, scope, feedback)
    heads, past = evidence.context.heads, (*evidence.rejected, *evidence.held) if proposer.reach == "all" else ()
    key = digest([heads, run.branch, proposer.name, ids, [one.id for one in past], gate.name])
    for known in (one for one in run.store.attempts(scope, key=key) if one.verdict.decision != "defer"):
        return known
    attempt = Attempt(scope=scope, key=key, proposer=proposer.name, heads=heads, branch=run.branch, evidence=ids,
                      at=run.clock())  # fmt: skip
    edit, verdict, before = None, Verdict(decision="abstain"), budget.usage
    try:
        edit = await proposer.propose(evidence, budget=budget)
    except EditError as error:
        verdict = Verdict(decision="reject", reason=f"the proposal cannot be used: {error}")
    attempt = replace(attempt, edit=edit, verdict=verdict, usage=budget.usage - before)
    if edit is not None:
        return await judge(run, gate, attempt, budget=budget)
    run.store.save_attempt(attempt)
    return attempt


@steadily
async def judge(run: Runtime, gate: Gate, attempt: Attempt, *, budget: Budget) -> Attempt:
    """Judge an attempt's edit by the context that stands now; commit it if accepted, anew if that moved (I2)."""
    for _ in range(REBASES):
        evidence = _evidence(run, attempt.scope, run.store.feedback(attempt.scope, ids=attempt.evidence))
        edit = stamp(attempt.edit or Edit(ops=()), evidence, by=attempt.proposer)
        vectors = run.recall.index(new_texts(evidence.context, edit))
        same = run.store.attempts(attempt.scope, edit_key=edit_key(edit))
        try:
            candidate = apply(evidence.context, edit, vectors=vectors)
            proposal = Proposal(edit=edit, evidence=evidence, candidate=candidate, previous=same[-1] if same else None)
            verdict = await gate.judge(proposal, budget=budget)
        except EditError as error:
            verdict = Verdict(decision="reject", reason=f"it no longer applies: {error}")
        judged = continued(replace(attempt, edit=edit, edit_key=edit_key(edit), verdict=verdict, at=run.clock()), same)
        if verdict.decision != "accept":
            run.store.save_attempt(judged)
            return judged
        try:
            made = admit(run.store, judged, evidence.context.heads.of(judged.scope), branch=run.branch, vectors=vectors)
            return replace(judged, revision=made.id)
        except StaleHead:
            continue
    raise StaleHead(f"the head of {attempt.scope} moved {REBASES} times during a judgement", hint="run it again")


async def sleep(
    run: Runtime, scope: Scope, proposers: Sequence[Proposer], gate: Gate, *, budget: Budget, again: Budget
) -> AsyncIterator[Attempt]:
    """Learn what is new, judge again what was deferred (out of `again`), what is regretted; yields all attempts."""
    run = replace(run, past=Past(run.store, scope))
    for proposer in (one for one in proposers if one.reach == "one"):
        for item in run.store.unseen(scope, proposer=proposer.name, branch=run.branch):
            yield await learn(run, proposer, gate, feedback=[item], budget=budget)
    for held in (one for one in run.store.attempts(scope, decision="defer") if one.branch == run.branch):
        yield await judge(run, gate, held, budget=again)
    for proposer in (one for one in proposers if one.reach == "cluster"):
        known, seen = _evidence(run, scope, run.store.feedback(scope)), run.store.attempts(scope)
        for cluster in failure_clusters(run.recall, known, seen, by=proposer.name, branch=run.branch):
            yield await learn(run, proposer, gate, feedback=cluster.feedback, budget=budget)
    for proposer in (one for one in proposers if one.reach == "all"):
        everything, tried = run.store.feedback(scope), set[str]()
        while everything:
            found = await learn(run, proposer, gate, feedback=everything, budget=budget)
            yield found
            if found.verdict.decision == "abstain" or found.edit_key in tried:
                break
            tried.add(found.edit_key)


def _evidence(run: Runtime, scope: Scope, feedback: Sequence[Feedback]) -> Evidence:
    context = run.store.context(scope, run.store.heads(scope, branch=run.branch))
    past = run.past if run.past and run.past.scope == scope else Past(run.store, scope)
    no, held, yes = ((*past.newest(it, SHOWN),) for it in ("reject", "defer", "accept"))
    return Evidence(scope=scope, context=context, feedback=feedback, episodes=past.episodes(feedback), rejected=no,
                    held=held, accepted=yes, past=past.attempts)  # fmt: skip
