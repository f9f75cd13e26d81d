"""How little authority there is in what an agent read, and so in what it writes (I9).

The taint of a prompt is the least origin of the learned texts in it. It is told to the host, and it bounds whatever the
agent says afterwards: a note that it makes, an answer that somebody approves. A summary never has more authority than
what it was made from, and neither has a quotation, a translation or an encoding of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from tokenspace.domain import Entry, Episode, Feedback, Origin, Signal

_APPROVING: Final = frozenset({Signal.LABEL, Signal.SCORE, Signal.EDIT})

CAREFUL: Final = frozenset(
    ("adopt", "consolidate", "contrast", "expire", "fact", "reflect", "rename", "renderer", "retire", "rewrite")
) | {"share", "skill", "tool_note"}
"""Names of proposers that make no text of answers in which something of lower authority may speak (`heard`)."""


def taint(entries: Iterable[Entry]) -> Origin:
    """The least origin of some entries; `OPERATOR` without any: nothing was added to what the host itself says."""
    return min((entry.origin for entry in entries), default=Origin.OPERATOR)


def heard(episode: Episode) -> Origin:
    """The least authority of anything that the agent had before it when it answered: learned texts, tools' results."""
    messages = (*episode.request.messages, *episode.run.messages)
    calls = (*episode.run.tool_calls, *(call for message in messages for call in message.tool_calls))
    answers = any(message.role == "tool" or message.tool_call_id for message in messages)
    told = answers or any(call.result is not None for call in calls)
    return min(episode.taint, Origin.TOOL) if told else episode.taint


def authority(feedback: Feedback, episode: Episode | None, *, by: str = "") -> Origin:
    """With whose authority a piece of feedback speaks, when a proposer makes a text of the context of it.

    What a person writes is theirs. What an agent writes, and an answer that a person only approves or mends, is the
    agent's text: where the agent had read anything below its own authority, it may be that which speaks. An answer that
    is one of the choices of the request itself can hold nothing else. Proposers that are `CAREFUL` keep such answers
    from their models; what they make is the person's word, or their own.
    """
    if episode is None:
        return feedback.source
    if feedback.source <= Origin.AGENT:
        return min(feedback.source, heard(episode))
    quotes = by.split("@", maxsplit=1)[0] not in CAREFUL and quoted(feedback, episode)
    return min(feedback.source, heard(episode)) if quotes and heard(episode) < Origin.AGENT else feedback.source


def quoted(feedback: Feedback, episode: Episode) -> bool:
    """Whether the text that a piece of feedback speaks for is the agent's own: approved, scored or mended.

    One of the request's choices is not, whoever says it. That choices were asked for is not enough: a model may answer
    something else.
    """
    text = feedback.value if feedback.signal is Signal.EDIT else episode.output
    return feedback.signal in _APPROVING and str(text).strip() not in (episode.request.choices or ())


# ── while an agent runs ─────────────────────────────────────────────────────────────────────


OWN_MEMORY: Final = "shows_own_memory"
"""A tool with this attribute set shows an agent its own context, whose authority the prompt's taint tells already."""


@dataclass(slots=True)
class _Heard:
    least: Origin


_RUN: ContextVar[_Heard | None] = ContextVar("heard in this run", default=None)


@contextmanager
def listening(least: Origin) -> Generator[None]:
    """One run of an agent, on a prompt of this taint: what it hears in the block lowers what it may say there."""
    token = _RUN.set(_Heard(least))
    try:
        yield
    finally:
        _RUN.reset(token)


def hear(origin: Origin) -> None:
    """The agent that runs has now read something of this origin."""
    run = _RUN.get()
    if run is not None:
        run.least = min(run.least, origin)


def spoken_by_agent() -> Origin:
    """The origin of what an agent says of its own accord now: its own, or that of the least it has read in this run."""
    run = _RUN.get()
    return Origin.AGENT if run is None else min(Origin.AGENT, run.least)
