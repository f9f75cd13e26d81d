"""`gate`: what the gate decided and why, what is on trial, and whether the whole still holds."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from tokenspace.cli.options import budget_of, budgeted, open_agent, verb, verb_group
from tokenspace.cli.output import (
    Short,
    emit,
    note,
    one_line,
    quoted,
    safe,
    table,
    told_attempt,
    told_edit,
    told_usage,
    when,
    working,
)  # fmt: skip
from tokenspace.cli.seen import seen
from tokenspace.domain import Attempt, Canary, Case, Revision
from tokenspace.errors import NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.gates import Explanation, TierReport

_WIDTH = 96

T = TypeVar("T", Canary, Case)


@verb_group("gate")
@click.pass_context
def gate(ctx: click.Context) -> None:
    """See what the gate decides and why.

    Without a command: how it fares (`gate status`).
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(status)


# ── verdicts ────────────────────────────────────────────────────────────────────────────────


@verb("status")
def status() -> None:
    """Say how the gate fares, by tier.

    Each edit counts once. The running false-discovery rate estimates how many of those that passed a test do nothing,
    on the cautious side: the sum of α over all that were tested, divided by those that passed.
    """
    agent = open_agent()
    rows, live = agent.gate.report(), agent.store.canaries(agent.scope)
    alpha = agent.parts.watch.settings.alpha
    pending = len(agent.parts.release.pending(agent.scope))

    def words() -> str:
        told = [["tier", "α", "tried", "accepted", "rejected", "held back", "rolled back", "calls/edit", "false, est."]]
        told += [_row(row, alpha.get(row.tier) if row.tier is not None else None) for row in rows]
        lines = [table(told) if rows else "nothing was tried yet"]
        lines += [f"{len(live)} on trial for some sessions (tokenspace gate canaries)"] if live else []
        lines += [f"{pending} revision(s) since the last release (tokenspace gate release)"] if pending else []
        return "\n".join(lines)

    emit(lambda: {"tiers": rows, "alpha": alpha, "canaries": len(live), "unreleased": pending}, words)


def _row(row: TierReport, alpha: float | None) -> list[str]:
    return [
        "all" if row.tier is None else f"T{row.tier}",
        "–" if alpha is None else f"{alpha:g}",
        *(str(count) for count in (row.tried, row.accepted, row.rejected, row.deferred, row.rolled_back)),
        f"{row.calls_per_edit:.1f}",
        f"{row.false_discovery:.0%} of {row.passed}" if row.passed else "–",
    ]


@verb("explain")
@click.argument("attempt")
def explain(attempt: str) -> None:
    r"""Explain a verdict so that it can be checked by hand.

    ATTEMPT is the id of an attempt, or of the revision that it made, as `log --attempts`, `log` and `review` print it;
    "last" is the newest attempt. Shows the tier and why, the level, the pairs, every e-value with its formula and the
    numbers put in, who supports it, what it cost, and how the evidence grew from case to case.

    \b
    tokenspace gate explain last
    tokenspace gate explain 1f09c2aa
    """
    agent = open_agent()
    found = _attempt(agent, attempt)
    seen(agent, "attempt", id=found.id)
    told = agent.gate.explain(found)
    requests = {case.id: case.request.query for case in agent.gate.cases()}
    emit(
        lambda: {
            "attempt": found,
            "explanation": told,
            "requests": {step.case: requests.get(step.case) for step in told.path},
        },
        lambda: _explained(found, told, requests),
    )
    if told.path:
        note(f"the answers, side by side: tokenspace review {found.id[-8:]}")


def _attempt(agent: LearningAgent, id: str) -> Attempt:
    tried = [one for one in agent.store.attempts(agent.scope) if one.verdict.decision != "abstain"]
    if id == "last":
        if not tried:
            raise NotFound("nothing was tried yet", hint="give feedback, then: tokenspace learn")
        return tried[-1]
    found = agent.find(id)
    if isinstance(found, Revision):
        made = [one for one in tried if one.revision == found.id]
        if made:
            return made[-1]
        raise NotFound(f"revision {id} was made without the gate", hint=f"tokenspace show {id}")
    if not isinstance(found, Attempt):
        raise NotFound(f"{id} is an episode", hint=f"why it answered so: tokenspace why {id}")
    return found


def _explained(found: Attempt, told: Explanation, requests: dict[str, str]) -> str:
    width = max(len(line.about) for line in told.lines)
    lines = [click.style(f"attempt {found.id}", fg="yellow"), f"{'edit':{width}}  {told_edit(found.edit)}"]
    for line in told.lines:
        wrapped = textwrap.wrap(safe(line.words), _WIDTH) or [""]
        lines += [f"{line.about if not place else '':{width}}  {words}" for place, words in enumerate(wrapped)]
    if told.path:
        rows = [["pair", "D", "E", "taught by", "request"]]
        rows += [
            [
                str(number),
                f"{step.difference:+.2f}".replace("-", "−"),
                f"{step.e_benefit:.4g}",
                one_line(step.principal, 16) or "–",
                quoted(requests[step.case], 60) if step.case in requests else "this case is gone",
            ]
            for number, step in enumerate(told.path, 1)
        ]
        lines += ["", table(rows)]
    return "\n".join(lines)


# ── on trial ────────────────────────────────────────────────────────────────────────────────


@verb("canaries")
@click.option("--all", "ended", is_flag=True, help="Those that have ended, too.")
@click.option("--stop", metavar="ID", help="Take this one back on your authority.")
@click.option("--promote", metavar="ID", help="Serve this one to everybody on your authority.")
@click.option("--reason", default="", metavar="WORDS", help="Why it is stopped.")
def canaries(*, ended: bool, stop: str | None, promote: str | None, reason: str) -> None:
    """List edits on trial for some of the sessions.

    Each line: id, state, share of the sessions, the outcomes with it and in the hold-back, the evidence that it harms
    (an alarm takes it back at once), and what it changes.
    """
    if stop and promote:
        raise UsageError("stop or promote, one at a time", hint="give one of --stop and --promote")
    agent = open_agent()
    if stop:
        gone = agent.gate.stop(_canary(agent, stop), reason=reason)
        emit(lambda: gone, lambda: f"stopped: canary {gone.id[-8:]}")
        return
    if promote:
        made = agent.gate.promote(_canary(agent, promote))
        emit(lambda: made, lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}")
        return
    found = agent.gate.canaries(ended=ended)
    seen(agent, "canary", count=len(found))
    short = Short(canary.id for canary, _ in found)

    def words() -> str:
        rows = [
            [
                click.style(short(canary.id), fg="yellow"),
                canary.state,
                f"{canary.share:.0%}",
                f"{look.treated} with it{_rate(look.rate_treated)}",
                f"{look.readings - look.treated} without{_rate(look.rate_held)}",
                f"harm {max(look.e_start, look.e_holdback, look.e_later):.3g}",
                told_edit(agent.store.revision(canary.scope, canary.revision).edit)
                + (f"  ({one_line(canary.reason or look.alarm)})" if canary.reason or look.alarm else ""),
            ]
            for canary, look in found
        ]
        return table(rows) if rows else "nothing is on trial"

    emit(lambda: {"canaries": [{"canary": canary, "look": look} for canary, look in found]}, words)


def _rate(rate: float | None) -> str:
    return "" if rate is None else f" ({rate:.2f})"


def _canary(agent: LearningAgent, id: str) -> Canary:
    return _one([canary for canary, _ in agent.gate.canaries()], id, "canary")


def _one(things: Sequence[T], id: str, what: str) -> T:
    """The thing that a unique beginning or end of an id names."""
    found = [one for one in things if id and (one.id.startswith(id) or one.id.endswith(id))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{id!r} names {len(found)} of them", hint="give more digits")
    raise NotFound(
        f"there is no {what} {id!r} here", hint=f"tokenspace gate {'canaries' if what == 'canary' else 'cases'}"
    )


# ── the whole ───────────────────────────────────────────────────────────────────────────────


@verb("release")
@budgeted
@click.pass_context
def release(ctx: click.Context, calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Test the whole against the last release.

    Many small changes, each of them fine, may not add up. Replays cases of all kinds, sealed ones among them, on what
    is served and on the last release; if the whole is worse, finds the revision that did it and takes it back. Exit
    code 1 if it is worse.
    """
    agent = open_agent(acting=True)
    with working("replaying cases on the last release and on what is served …"):
        found = agent.gate.release(budget=budget_of(calls, tokens, usd))

    def words() -> str:
        test = found.test
        said = click.style("as good as", fg="green") if found.passed else click.style("worse than", fg="red")
        lines = [
            f"{found.revisions} revision(s): {said} the last release; {one_line(found.reason, 150)}",
            f"{test.pairs} case(s): {test.fixes} better, {test.breaks} worse, {test.ties} the same",
        ]
        lines += [f"it was revision {found.culprit.id[-8:]}: {told_edit(found.culprit.edit)}"] if found.culprit else []
        lines += [f"taken back by revision {found.undone.id[-8:]}"] if found.undone else []
        return "\n".join(lines)

    emit(
        lambda: {
            "passed": found.passed,
            "revisions": found.revisions,
            "pairs": found.test.pairs,
            "better": found.test.fixes,
            "worse": found.test.breaks,
            "culprit": found.culprit,
            "undone": found.undone,
            "reason": found.reason,
        },
        words,
    )
    if not found.passed:
        ctx.exit(1)


@verb("noise")
@click.option(
    "--pairs", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N cases."
)
@budgeted
def noise(pairs: int, calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Gate an edit that does nothing.

    Runs each case twice with the same prompt: how often the scores differ is the noise that every verdict stands on.
    Two model calls for each case.
    """
    agent = open_agent(acting=True)
    with working("running equal prompts twice …"):
        found = agent.gate.noise(pairs=pairs, budget=budget_of(calls, tokens, usd))
    unequal = found.higher + found.lower

    def words() -> str:
        if not found.pairs:
            return "there is no case to run: give corrections, and they become cases"
        low, high = found.share
        verdict = (
            "the gate would have taken it for an improvement" if found.accepted else "and the gate sees nothing in it"
        )
        return (
            f"{unequal} of {found.pairs} pairs of equal prompts differ ({low:.1%} … {high:.1%}): "
            f"{found.higher} higher, {found.lower} lower, {verdict}\n{told_usage(found.usage)}"
        )

    emit(lambda: found, words)


@verb("renderers")
@budgeted
def renderers(calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Find out how entries are best shown to this model.

    Tries showing what was learned as turns, as text, as rules and as the full history, each judged by replay like any
    other change; what helps is served. One that lost is tried again when there is twice as much feedback.
    """
    from tokenspace.context.renderers import styled

    agent = open_agent(acting=True)
    with working("replaying with entries shown in another way …"):
        tried = agent.gate.measure_renderers(budget=budget_of(calls, tokens, usd))
    short, style = Short(one.id for one in tried), styled(agent.parts.runtime.agent.profile, agent.context()).style

    def words() -> str:
        lines = [told_attempt(one, short) for one in tried] or [
            "nothing to try: it needs 20 pieces of feedback, or more"
        ]
        return "\n".join([*lines, f"shown as: {style}"])

    emit(lambda: {"attempts": tried, "style": style}, words)


# ── regression tests ────────────────────────────────────────────────────────────────────────


@verb("cases")
@click.option("--pin", metavar="ID", help="Make this one a regression test, which every edit must pass.")
@budgeted
def cases(pin: str | None, calls: int | None, tokens: int | None, usd: float | None) -> None:
    """List what can be replayed.

    Each line: id, time, whether it is pinned or sealed, who taught it, the request and what is expected. A case can be
    pinned if five fresh runs on what is served score the same, which costs five model calls.
    """
    agent = open_agent(acting=pin is not None)
    if pin:
        case = _one(agent.gate.cases(), pin, "case")
        pinned = agent.gate.pin(case, budget=budget_of(calls, tokens, usd))
        emit(lambda: pinned, lambda: f"pinned: {quoted(pinned.request.query)}")
        return
    found = agent.gate.cases()
    seen(agent, "case", count=len(found))
    short = Short(one.id for one in found)

    def words() -> str:
        rows = [
            [
                click.style(short(one.id), fg="yellow"),
                when(one.at),
                "pinned" if one.pinned else one.split,
                one_line(one.principal, 16),
                f"{quoted(one.request.query, 56)} → {one_line(str(one.grader.expected), 40)}",
            ]
            for one in found
        ]
        return table(rows) if rows else "no case yet: give corrections, and they become cases"

    emit(lambda: {"cases": found}, words)


for _command in (status, explain, canaries, release, noise, renderers, cases):
    gate.add_command(_command)
