"""`ask` and `feedback`: an answer, and what somebody says about it."""

from __future__ import annotations

import sys

import click

from tokenspace.cli.options import open_agent, verb
from tokenspace.cli.output import emit, note, one_line, quoted, safe
from tokenspace.cli.seen import seen
from tokenspace.errors import BadData


def read_text(given: str) -> str:
    """The text of an argument; of standard input for `-`. Raises `BadData` for bytes that are no UTF-8."""
    if given != "-":
        return given
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise BadData(f"standard input is not UTF-8: {error}", hint="convert it, for example with iconv") from error


@verb("ask")
@click.argument("text")
@click.option("--choice", "choices", multiple=True, metavar="ANSWER", help="An allowed answer; repeat it for each.")
@click.option("--session", metavar="NAME", help="A conversation; its core context stays as it began.")
def ask(text: str, choices: tuple[str, ...], session: str | None) -> None:
    r"""Ask the agent, with what it has learned.

    TEXT may be - to read standard input. The answer goes to standard output, the id of the episode, which `feedback`
    takes, to standard error. Nothing is learned from asking.

    \b
    tokenspace ask "my parcel never came"
    tokenspace ask --choice refund --choice repair - < message.txt
    """
    if any(not choice.strip() for choice in choices):
        raise BadData("a choice is empty", hint="give every --choice a text")
    agent = open_agent(acting=True)
    episode = agent.act(read_text(text), choices=choices or None, session=session)
    emit(
        lambda: {
            "episode": episode.id,
            "output": episode.output,
            "model": episode.run.model,
            "heads": episode.heads,
            "shown": tuple(dict.fromkeys(episode.shown)),
            "taint": episode.taint.name.lower(),
            "session": episode.session,
            "usage": episode.run.usage,
            "latency_s": episode.run.latency_s,
        },
        lambda: safe(episode.output),
    )
    note(f"episode {episode.id[-8:]}: {len({*episode.shown})} learned entries were shown to {episode.run.model}")


@verb("feedback")
@click.argument("episode")
@click.option("--correct", metavar="TEXT", help="What would have been right.")
@click.option("--right/--wrong", "label", default=None, help="Whether the answer was right.")
@click.option("--score", type=float, metavar="X", help="How good it was, from 0 (worst) to 1 (best).")
@click.option("--text", metavar="WORDS", help="A clarification in words, which may become a rule.")
@click.option("--when", "trigger", metavar="TRIGGER", help="With --text: the kind of request that it is about.")
@click.option("--comment", default="", metavar="WORDS", help="Why, for whoever reads it later.")
@click.option("--by", metavar="NAME", help="Who says so (default: you).")
def feedback(
    episode: str,
    *,
    correct: str | None,
    label: bool | None,
    score: float | None,
    text: str | None,
    trigger: str | None,
    comment: str,
    by: str | None,
) -> None:
    r"""Say what was right or wrong about an answer.

    EPISODE is an id, a unique part of one, or "last". Give exactly one of --correct, --right, --wrong, --score and
    --text. `tokenspace learn` learns from it.

    \b
    tokenspace feedback last --correct Kestrel
    tokenspace feedback 1f09c2aa --text "Ask for the order number first" --when "refunds"
    """
    agent = open_agent()
    about = agent.episode(episode)
    seen(agent, "episode", id=about.id)
    said = agent.observe(
        about, correction=correct, label=label, score=score, text=text, trigger=trigger, comment=comment, by=by
    )
    emit(
        lambda: said,
        lambda: f"noted {said.signal.value} by {one_line(said.principal)} on {quoted(about.request.query)}",
    )
    note("learn from it: tokenspace learn")
