"""`why`: the learned line that caused an answer, found by replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from tokenspace.cli.options import budget_of, budgeted, open_agent, verb
from tokenspace.cli.output import emit, note, one_line, quoted, safe, told_usage, when, working
from tokenspace.cli.seen import seen

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.domain import Blame, Entry, Episode
    from tokenspace.gates import Cause


@verb("why")
@click.argument("episode")
@click.option("--contains", metavar="TEXT", help="Ask about answers that contain this, instead of the same answer.")
@click.option("--replays", type=click.IntRange(min=1), default=35, show_default=True, metavar="N",
              help="Replay it at most N times.")  # fmt: skip
@budgeted
def why(
    episode: str, *, contains: str | None, replays: int, calls: int | None, tokens: int | None, usd: float | None
) -> None:
    r"""Find the learned line that caused an answer.

    EPISODE is an id, a unique part of one, or "last". Replays it with groups of the entries that it was shown left out
    until one of them is most likely, then confirms that on fresh replays. Says so when no line causes it alone, when
    the model does it without any, and when it does not happen again.

    \b
    tokenspace why last
    tokenspace why 1f09c2aa --contains "free of charge"
    """
    agent = open_agent(acting=True)
    about = agent.episode(episode)
    seen(agent, "episode", id=about.id)
    with working(f"replaying it without some of {len({*about.shown})} entries …"):
        cause = agent.why(about, shows=_containing(contains), replays=replays, budget=budget_of(calls, tokens, usd))
    entries, blame = agent.store.context(agent.scope, about.heads).by_id, agent.blame()
    following = _next(agent, cause, blame)
    emit(
        lambda: {
            "episode": about.id,
            "contains": contains,
            "cause": cause,
            "entries": [{"entry": entries.get(id), "blame": blame.get(id)} for id in cause.entries],
            "next": following,
        },
        lambda: _told(about, cause, entries, blame, contains),
    )
    for line in following:
        note(line)


def _containing(text: str | None) -> Callable[[str], bool] | None:
    """Whether an answer contains a text, in any case; None without one."""
    wanted = text.casefold() if text else ""
    return (lambda said: wanted in said.casefold()) if wanted else None


def _told(
    about: Episode, cause: Cause, entries: Mapping[str, Entry], blame: Mapping[str, Blame], contains: str | None
) -> str:
    sought = f"an answer that contains {quoted(contains)}" if contains else "the same answer again"
    lines = [
        f"episode {about.id[-8:]}: {quoted(about.request.query)} → {quoted(about.output, 40)}",
        f"asked for {sought}",
        click.style(cause.words, bold=True),
    ]
    likely = [(id, share) for id, share in cause.suspects if id in cause.entries or share >= 0.05]
    if cause.confirmed:
        likely = [one for one in likely if one[0] in cause.entries]
    for id, share in likely if cause.finding in ("entry", "several", "unclear") else []:
        lines += _line(id, share, entries.get(id), blame.get(id))
    if cause.stopped:
        lines.append(f"stopped early: {safe(cause.stopped)}")
    lines.append(f"{cause.replays} replay(s); {told_usage(cause.usage)}")
    return "\n".join(lines)


def _line(id: str, share: float, entry: Entry | None, why: Blame | None) -> list[str]:
    """A suspect, and who wrote it."""
    if entry is None:
        told = "a line that began with the session"
    else:
        said = f"{quoted(entry.trigger, 50)} → {quoted(entry.text, 40)}" if entry.trigger else quoted(entry.text, 90)
        told = f"{entry.kind.value.replace('_', ' ')} {said}"
    if why is None:
        written = "it is not served any more"
    else:
        basis = f"{one_line(why.author.split('@')[0], 24)}, {when(why.at)}, {why.decision_basis}"
        written = f"written by revision {why.revision[-8:]} of {why.scope} ({basis})"
    return [f"  {click.style(id[-8:], fg='yellow')}  {share:4.0%}  {told}", f"      {written}"]


def _next(agent: LearningAgent, cause: Cause, blame: Mapping[str, Blame]) -> list[str]:
    """What to do about it, as command lines."""
    if cause.finding == "unclear":
        return ["go on with more: tokenspace why … --replays N"]
    if cause.finding == "gone":
        return ["ask about a part of the answer: tokenspace why … --contains TEXT"]
    told: dict[str, None] = {}
    for written in (blame[id] for id in cause.entries if id in blame):
        where, revert = written.scope, f"tokenspace revert {written.revision[-8:]}"
        if where == agent.scope:
            told[f"take it back: {revert}"] = None
        elif where.tenant:
            told[f"take it back for all of tenant {where.tenant}: {revert} --tenant {where.tenant}, without --user"] = (
                None
            )
        else:
            told[f"take it back for everybody: {revert}, without --tenant and --user"] = None
    return list(told)
