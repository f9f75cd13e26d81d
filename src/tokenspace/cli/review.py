"""`review`: what is held back, the evidence for it side by side, and a person's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tokenspace.cli.options import open_agent, open_with_model, verb
from tokenspace.cli.output import (
    Short,
    emit,
    note,
    one_line,
    quoted,
    safe,
    table,
    told_edit,
    told_op,
    told_verdict,
    when,
)  # fmt: skip
from tokenspace.cli.seen import seen
from tokenspace.domain import Attempt
from tokenspace.errors import NotFound, UsageError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.gates import Answer, Beside


@verb("review")
@click.argument("id", required=False, metavar="[ID]")
@click.option("--approve", metavar="ID", help="Commit this one on your authority.")
@click.option("--decline", "--reject", metavar="ID", help="Reject this one on your authority.")
@click.option("--reason", default="", metavar="WORDS", help="Why it is declined; proposers are shown it.")
def review(id: str | None, approve: str | None, decline: str | None, reason: str) -> None:
    r"""See and decide what is held back.

    Without arguments: every change that waits for more evidence or for a person, with what speaks for and against it.
    With ID: the evidence of that change side by side, each tested case with the answer before and after. No model is
    asked: the answers are those that the gate saw.

    \b
    tokenspace review 1f09c2aa
    tokenspace review --approve 1f09c2aa
    """
    if sum(one is not None for one in (id, approve, decline)) > 1:
        raise UsageError("look at a change, approve it or decline it, not several", hint="give one id")
    if approve:
        made = open_agent().approve(approve)
        emit(lambda: made, lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}")
    elif decline:
        gone = open_agent().decline(decline, reason=reason)
        emit(lambda: gone, lambda: f"declined: {told_edit(gone.edit)}")
    elif id:
        agent = open_with_model()
        found = agent.find(id)
        if not isinstance(found, Attempt):
            raise NotFound(f"{id} is no change that was tried", hint="`tokenspace review` lists those that wait")
        _side_by_side(agent, found)
    else:
        agent = open_agent()
        waiting = agent.waiting()
        seen(agent, "attempt", count=len(waiting))
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
    first = short(waiting[0].id)
    note(f"see its evidence: tokenspace review {first}")
    note(f"decide: tokenspace review --approve {first}   or   --decline {first}")
    return "\n\n".join(parts)


def _side_by_side(agent: LearningAgent, found: Attempt) -> None:
    evidence = agent.gate.evidence(found)
    seen(agent, "attempt", id=found.id)
    emit(
        lambda: {
            "attempt": found,
            "evidence": [
                {
                    "case": one.case.id,
                    "request": one.case.request.query,
                    "expected": one.case.grader.expected,
                    "grader": one.case.grader.name,
                    "principal": one.case.principal,
                    "difference": one.difference,
                    "before": one.before,
                    "after": one.after,
                }
                for one in evidence
            ],
        },
        lambda: _told(found, evidence),
    )
    if found.verdict.decision == "defer":
        note(f"decide: tokenspace review --approve {found.id[-8:]}   or   --decline {found.id[-8:]}")
    note(f"the numbers: tokenspace gate explain {found.id[-8:]}")


def _told(found: Attempt, evidence: list[Beside]) -> str:
    ops = [told_op(op) for op in found.edit.ops] if found.edit else []
    lines = [click.style(f"attempt {found.id}", fg="yellow"), *ops, told_verdict(found.verdict)]
    for number, one in enumerate(evidence, 1):
        marks = {True: ("fixed", "green"), False: ("broken", "red")}
        change = one.difference if one.difference is not None else _change(one)
        word, colour = ("the same", "white") if not change else marks[change > 0]
        by = f", taught by {one_line(one.case.principal)}" if one.case.principal else ""
        lines += ["", f"{number}. {click.style(word, fg=colour)}: {quoted(one.case.request.query, 90)}{by}"]
        lines.append(
            table(
                [
                    ["expected", "", one_line(safe(str(one.case.grader.expected)), 90)],
                    ["before", _score(one.before), _answer(one.before)],
                    ["after", _score(one.after), _answer(one.after)],
                ],
                indent="   ",
            )
        )
    if not evidence:
        lines += ["", "no case was replayed for it"]
    return "\n".join(lines)


def _change(one: Beside) -> float:
    """What changed by the remembered scores, where the verdict kept no differences."""
    return (one.after.score or 0.0) - one.before.score if one.before.score is not None else 0.0


def _score(answer: Answer) -> str:
    return "" if answer.score is None else f"{answer.score:.2f}"


def _answer(answer: Answer) -> str:
    return (
        "not remembered: its context, model or case has changed since"
        if answer.output is None
        else one_line(answer.output, 90)
    )
