"""`learn`, `sleep` and `review`: feedback becomes learned context, if the gate or a person lets it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tokenspace.cli.options import open_agent, verb
from tokenspace.cli.output import (
    WORDS,
    Short,
    emit,
    note,
    one_line,
    quoted,
    told_attempt,
    told_edit,
    told_usage,
    told_verdict,
    when,
    working,
)  # fmt: skip
from tokenspace.domain import Attempt
from tokenspace.errors import UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent, SleepReport
    from tokenspace.budget import Budget


def budgeted(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: options that limit what a command may spend."""
    for name, kind, what in (
        ("--usd", click.FloatRange(min=0), "dollars"),
        ("--tokens", click.IntRange(min=0), "tokens"),
        ("--calls", click.IntRange(min=0), "model calls"),
    ):
        command = click.option(name, type=kind, metavar="N", help=f"Spend at most N {what}.")(command)
    return command


def _budget(calls: int | None, tokens: int | None, usd: float | None) -> Budget:
    from tokenspace.budget import Budget

    limits = [math.inf if limit is None else limit for limit in (calls, tokens, usd)]
    return Budget(calls=limits[0], tokens=limits[1], usd=limits[2])


@verb("learn")
@budgeted
def learn(calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Learn from new feedback.

    Each proposed change is judged by the gate, and each verdict is printed as it falls: accepted changes are served
    from the next question on, rejected ones are kept with the reason, and those that are held back are looked at
    again whenever more is known.
    """
    agent = open_agent(acting=True)
    short = Short()
    with working("judging what the feedback proposes …") as say:
        report = agent.learn(budget=_budget(calls, tokens, usd), on_attempt=lambda one: say(told_attempt(one, short)))
    _end(report, nothing="there is no new feedback to learn from")


@verb("sleep")
@budgeted
def sleep(calls: int | None, tokens: int | None, usd: float | None) -> None:
    """Learn over all evidence, within a budget.

    Judges again by replay what was held back, and retires what later evidence contradicts. Safe to interrupt: finished
    replays are kept and never paid for twice.
    """
    agent = open_agent(acting=True)
    short = Short()
    with working("going over all evidence …") as say:
        report = agent.sleep(budget=_budget(calls, tokens, usd), on_attempt=lambda one: say(told_attempt(one, short)))
    _end(report, nothing="nothing to change: all that was learned stands")


def _end(report: SleepReport, *, nothing: str) -> None:
    counts = Counter(one.verdict.decision for one in report.attempts)

    def words() -> str:
        told = ", ".join(f"{counts[kind]} {word}" for kind, word in WORDS.items() if counts[kind])
        lines = [f"{told or nothing}; {told_usage(report.usage)}"]
        lines += [f"stopped early: {report.stopped}"] if report.stopped else []
        return "\n".join(lines)

    emit(
        lambda: {"attempts": report.attempts, "counts": counts, "usage": report.usage, "stopped": report.stopped}, words
    )
    if counts["defer"]:
        note("see what is held back: tokenspace review")
    elif counts["accept"]:
        note("see what changed: tokenspace log")


@verb("review")
@click.option("--approve", metavar="ID", help="Commit this one on your authority.")
@click.option("--decline", metavar="ID", help="Reject this one on your authority.")
@click.option("--reason", default="", metavar="WORDS", help="Why it is declined; proposers are shown it.")
def review(approve: str | None, decline: str | None, reason: str) -> None:
    """See and decide what is held back.

    Without options: every change that waits for more evidence or for a person, with what speaks for and against it.
    """
    if approve and decline:
        raise UsageError("a change is approved or declined, not both", hint="give one of --approve and --decline")
    agent = open_agent()
    if approve:
        made = agent.approve(approve)
        emit(lambda: made, lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}")
    elif decline:
        gone = agent.decline(decline, reason=reason)
        emit(lambda: gone, lambda: f"declined: {told_edit(gone.edit)}")
    else:
        waiting = agent.waiting()
        emit(lambda: {"waiting": waiting}, lambda: _waiting(agent, waiting))


def _waiting(agent: LearningAgent, waiting: list[Attempt]) -> str:
    if not waiting:
        return "nothing is held back"
    said = {item.id: item for item in agent.store.feedback(agent.scope)}
    short = Short(one.id for one in waiting)
    parts: list[str] = []
    for one in waiting:
        lines = [f"{short(one.id)}  {when(one.at)}  {one.proposer.split('@')[0]}  {told_edit(one.edit)}"]
        lines += told_verdict(one.verdict).split("\n")
        for item in (said[id] for id in one.evidence if id in said):
            lines.append(
                f"{item.signal.value} by {one_line(item.principal)}: {quoted(item.comment or str(item.value))}"
            )
        parts.append("\n    ".join(lines))
    note(f"decide: tokenspace review --approve {short(waiting[0].id)}   or   --decline {short(waiting[0].id)}")
    return "\n\n".join(parts)
