"""`log`, `show`, `diff`, `blame` and `revert`: what changed, why, on what evidence, and back again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from tokenspace.cli.options import open_agent, verb
from tokenspace.cli.output import (
    Short,
    decision,
    emit,
    note,
    one_line,
    quoted,
    safe,
    table,
    told_edit,
    told_op,
    told_usage,
    told_verdict,
    when,
)  # fmt: skip
from tokenspace.cli.seen import seen
from tokenspace.domain import Attempt, Entry, Episode, Revision

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.stats import Lift


@verb("log")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Show the newest N only.")
@click.option("--episodes", "what", flag_value="episodes", help="What was asked and answered, instead of revisions.")
@click.option("--attempts", "what", flag_value="attempts", help="Everything that was tried, rejected or not.")
def log(limit: int | None, what: str | None) -> None:
    """List revisions, the newest first.

    Each line: id, time, on what ground it was accepted (tested by replay, a person's word, or policy), who proposed it,
    what changed.
    """
    agent = open_agent()
    if what == "episodes":
        episodes = agent.store.episodes(agent.scope, limit=limit)
        seen(agent, "episode", count=len(episodes))
        emit(lambda: {"episodes": episodes}, lambda: _episodes(episodes) or "nothing was asked yet")
    elif what == "attempts":
        tried = [one for one in agent.store.attempts(agent.scope) if one.verdict.decision != "abstain"]
        attempts = tried[::-1][:limit]
        seen(agent, "attempt", count=len(attempts))
        emit(lambda: {"attempts": attempts}, lambda: _attempts(attempts) or "nothing was tried yet")
    else:
        revisions = agent.log(limit=limit)
        seen(agent, "revision", count=len(revisions))
        emit(lambda: {"revisions": revisions}, lambda: _revisions(revisions) or "nothing was learned yet")


def _revisions(revisions: list[Revision]) -> str:
    short = Short(one.id for one in revisions)
    rows = [
        [
            click.style(short(one.id), fg="yellow"),
            when(one.at),
            one.verdict.basis,
            one_line(one.author.split("@")[0], 16),
            told_edit(one.edit) if one.author != one.verdict.reason.removeprefix("by ") else _by_hand(one),
        ]
        for one in revisions
    ]
    return table(rows)


def _by_hand(revision: Revision) -> str:
    return f"{one_line(revision.edit.rationale, 50)}: {told_edit(revision.edit)}"


def _episodes(episodes: list[Episode]) -> str:
    short = Short(one.id for one in episodes)
    return table(
        [
            [
                click.style(short(one.id), fg="yellow"),
                when(one.at),
                quoted(one.request.query, 56),
                one_line(one.output, 40),
            ]
            for one in episodes
        ]
    )


def _attempts(attempts: list[Attempt]) -> str:
    short = Short(one.id for one in attempts)
    rows = [
        [
            click.style(short(one.id), fg="yellow"),
            when(one.at),
            decision(one.verdict),
            one.proposer.split("@")[0],
            f"{told_edit(one.edit)}  ({one_line(one.verdict.reason)})",
        ]
        for one in attempts
    ]
    return table(rows)


@verb("show")
@click.argument("id")
def show(id: str) -> None:
    """Show a revision, an episode or an attempt.

    ID is a unique part of an id as `log`, `ask` and `review` print it, or "last" for the newest episode. Shows what it
    is, why, the verdict with its numbers, and the evidence.
    """
    agent = open_agent()
    found = agent.episode() if id == "last" else agent.find(id)
    seen(agent, type(found).__name__.lower(), id=found.id)
    match found:
        case Revision():
            emit(lambda: found, lambda: _revision(agent, found))
        case Episode():
            about = [item for item in agent.store.feedback(agent.scope) if item.episode == found.id]
            emit(lambda: {"episode": found, "feedback": about}, lambda: _episode(agent, found))
        case Attempt():
            emit(lambda: found, lambda: _attempt(agent, found))


def _revision(agent: LearningAgent, found: Revision) -> str:
    lines = [
        click.style(f"revision {found.id}", fg="yellow"),
        f"number {found.seq} of {found.scope}{f' on branch {safe(found.branch)}' if found.branch else ''}",
        f"by     {safe(found.author)}, {when(found.at)}",
        f"why    {safe(found.edit.rationale) or 'no reason given'}",
        "",
        told_verdict(found.verdict),
        "",
        coloured(agent.diff(found.parent, found.id) if found.parent else agent.diff(newer=found.id)),
        *_evidence(agent, found.edit.evidence),
    ]
    return "\n".join(lines)


def _attempt(agent: LearningAgent, found: Attempt) -> str:
    lines = [
        click.style(f"attempt {found.id}", fg="yellow"),
        f"by     {found.proposer}, {when(found.at)}",
        f"made   {f'revision {found.revision}' if found.revision else 'no revision'}",
        "",
        told_verdict(found.verdict),
        "",
        *(told_op(op) for op in (found.edit.ops if found.edit else ())),
        *_evidence(agent, found.evidence),
    ]
    return "\n".join(lines)


def _episode(agent: LearningAgent, found: Episode) -> str:
    run = found.run
    messages = [f"{message.role}: {safe(message.text)}" for message in found.request.messages]
    entries = _entries(agent, found)
    choices = f"choices: {', '.join(map(safe, found.request.choices))}" if found.request.choices else ""
    about = [item for item in agent.store.feedback(agent.scope) if item.episode == found.id]
    said = [
        f"  {item.id[-8:]}  {item.signal.value} by {one_line(item.principal)}: {quoted(str(item.value))} "
        f"{one_line(item.comment)}".rstrip()
        for item in about
    ]
    lines = [
        click.style(f"episode {found.id}", fg="yellow"),
        f"{when(found.at)}, {run.model}, {told_usage(run.usage)}",
        *([choices] if choices else []),
        "",
        *messages,
        click.style(f"answer: {safe(found.output)}", bold=True),
        "",
        f"{len({*found.shown})} learned entries were shown{':' if entries else ''}",
        *(f"  {entry.id[-8:]}  {quoted(entry.trigger or entry.text)} → {quoted(entry.text, 40)}" for entry in entries),
        *(["", "feedback:", *said] if said else []),
    ]
    return "\n".join(lines)


def _entries(agent: LearningAgent, episode: Episode) -> list[Entry]:
    context = agent.store.context(agent.scope, episode.heads)
    return [context.by_id[id] for id in dict.fromkeys(episode.shown) if id in context.by_id]


def _evidence(agent: LearningAgent, ids: Iterable[str]) -> list[str]:
    """Lines about the feedback and episodes of an edit."""
    cited = set(ids)
    said = [item for item in agent.store.feedback(agent.scope) if item.id in cited]
    lines: list[str] = []
    for item in said:
        asked = agent.store.episode(agent.scope, item.episode)
        words = f" ({one_line(item.comment)})" if item.comment else ""
        lines.append(
            f"  {item.signal.value} by {one_line(item.principal)}, {when(item.at)}: {quoted(str(item.value))}{words}"
        )
        lines.append(f"    on episode {asked.id[-8:]}: {quoted(asked.request.query)} → {quoted(asked.output, 40)}")
    return ["", "evidence:", *lines] if lines else []


def coloured(diff: str) -> str:
    """A diff with what came in green and what went in red."""
    colours = {"+": "green", "-": "red"}
    return "\n".join(click.style(line, fg=colours.get(line[:1])) for line in diff.rstrip("\n").split("\n"))


@verb("diff")
@click.argument("older", required=False, metavar="[A]")
@click.argument("newer", required=False, metavar="[B]")
def diff(older: str | None, newer: str | None) -> None:
    """Show what changed.

    Without arguments: what the newest revision changed. With A: from revision A to now. With A and B: from A to B.
    """
    agent = open_agent()
    text = agent.diff(older, newer)
    seen(agent, "revision")
    emit(lambda: {"older": older, "newer": newer, "diff": text}, lambda: coloured(text) if text else "nothing changed")


@verb("blame")
@click.argument("doc", required=False, metavar="[DOC]")
def blame(doc: str | None) -> None:
    """Say where each learned entry comes from.

    Each line: the entry, the revision that last wrote it, its author, on what ground it was accepted, its lift, and the
    text. The lift is by how much the entry raises the share of right answers among the requests that it changes, with
    95 % of its posterior, as the gate measured it in pairs with and without it; "unverified" if it never was. DOC
    limits it to one document, such as "examples" or "rules".
    """
    agent = open_agent()
    found, short, lift = agent.blame(), Short(), agent.lift()
    entries = [one for one in agent.context().entries if doc is None or one.doc == doc.removesuffix(".md")]
    seen(agent, "entry", count=len(entries))

    def words() -> str:
        rows = [
            [
                short(entry.id),
                click.style(short(why.revision), fg="yellow"),
                when(why.at),
                one_line(why.author.split("@")[0], 16),
                why.decision_basis,
                told_lift(lift.get(entry.id, {})),
                f"{quoted(entry.trigger, 50)} → {quoted(entry.text, 40)}" if entry.trigger else quoted(entry.text),
            ]
            for entry in entries
            for why in [found[entry.id]]
        ]
        return table(rows) or "nothing was learned yet"

    emit(
        lambda: {
            "entries": [
                {"entry": entry, "blame": found[entry.id], "lift": lift_data(lift.get(entry.id, {}))}
                for entry in entries
            ]
        },
        words,
    )


def told_lift(lift: Mapping[str, Lift]) -> str:
    """An entry's lift on each model that it was tested on."""
    told = "; ".join(f"{one.words} on {model or 'an unnamed model'}" for model, one in sorted(lift.items()))
    return f"lift {told}" if told else "unverified"


def lift_data(lift: Mapping[str, Lift]) -> dict[str, dict[str, float]]:
    """The same for scripts, by model; empty if it was never tested."""
    return {
        model: {
            "mean": one.mean, "low": one.interval.low, "high": one.interval.high, "probability": one.probability,
            "pairs": one.pairs, "fixes": one.fixes, "breaks": one.breaks,
        }
        for model, one in lift.items()
    }  # fmt: skip


@verb("revert")
@click.argument("revision")
@click.option("-m", "--reason", default="", metavar="WORDS", help="Why it is taken back.")
def revert(revision: str, reason: str) -> None:
    """Take back what one revision changed.

    Nothing is erased: it is a new revision, which can be reverted in turn. Refused where a later revision changed the
    same entries.
    """
    agent = open_agent()
    made = agent.revert(revision, reason=reason)
    emit(lambda: made, lambda: f"committed as {made.id[-8:]}: {told_edit(made.edit)}")
    note(f"undo this: tokenspace revert {made.id[-8:]}")
