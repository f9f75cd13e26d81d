"""What was learned from a failure that passes is dated, so that it never becomes a permanent belief by itself.

"The payment service is down" is true today. Whatever was learned from it ends after some days unless a replay shows
that it still helps. The signs are statements of failure: an outage, a timeout, a lost connection, an error code that
asks to try again. What says how to act *if* one happens is no statement, and neither is a limit or a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from tokenspace.domain import Edit, Entry, Episode, Evidence, Feedback, Kind, Op, Patch, Put, Signal

BELIEF_DAYS: Final = 7
"""How long what was learned from a passing failure holds before it must be tested again."""

_SIGNS: Final = re.compile(
    r"\btimed[ -]out\b|\btime-?outs? (?:error|exceeded|after|waiting|while)\b|\b\w*TimeoutError\b|\bReadTimeout\b"
    r"|\bE(?:TIMEDOUT|CONNRESET|CONNREFUSED)\b"
    r"|\bconnection (?:was |is |has been )?(?:reset|refused|lost|aborted|failed)\b"
    r"|\b(?:HTTP|status|error|code|returned|returns|got|with)(?: code| error| status)? (?:408|429|502|503|504)\b"
    r"|\b(?:429 too many|502 bad|503 service|504 gateway)\b|\btoo many requests\b|\brate[- ]limited\b"
    r"|\b(?:hit|hits|exceeded) (?:the |its |our |a )?rate limit\b|\bservice (?:is )?(?:temporarily )?unavailable\b"
    r"|\b(?:is|are|was|were|seems|being|currently|still|went|goes) (?:\w+ )?"
    r"(?:down(?! (?:to|from|by|payment|\d))|offline|unreachable|unavailable|overloaded|out of service|not responding)\b"
    r"|\btemporarily\b|\btry(?:ing)? again later\b|\boutages?\b|\bunder maintenance\b|\bgateway time-?out\b"
    r"|\bnetwork errors?\b|\bkeeps (?:failing|crashing|timing out)\b|\bnot (?:working|available|reachable|responding)\b"
    r"|\b(?:does not|doesn't|do not|don't|cannot|can't) \w+(?: \w+)? (?:at the moment|right now|today|currently)\b",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[^.!?\n]+")
_CONDITIONAL: Final = re.compile(
    r"\b(?:if|when|whenever|in case|unless|once|should|until|during|before|after)\b", re.IGNORECASE
)
_IN_WORDS: Final = frozenset({Signal.TEXT, Signal.TEST_LOG})


def failure_in(text: str) -> str:
    """The words that state a passing failure; "" if there are none.

    >>> failure_in("The payment service is down."), failure_in("If the service is down, say so.")
    ('is down', '')
    """
    for sentence in _SENTENCE.findall(text):
        found = _SIGNS.search(sentence)
        if found and not _CONDITIONAL.search(sentence, 0, found.start()):
            return found[0]
    return ""


def born_of_failure(entry: Entry, feedback: Iterable[Feedback], episodes: Iterable[Episode]) -> bool:
    """Whether an entry states a passing failure, or was made from feedback or tool results that do.

    An example is judged by its own answer alone: that its episode met an error does not make its answer pass.
    """
    if failure_in(entry.text):
        return True
    if entry.kind is Kind.EXAMPLE:
        return False
    said = (*_said(feedback), *(text for episode in episodes for text in _errors(episode)))
    return any(map(failure_in, said))


def dated(edit: Edit, evidence: Evidence, *, days: int = BELIEF_DAYS) -> Edit:
    """The edit with an end to every text that it writes which was born of a passing failure.

    The end is `days` after the latest feedback that the edit cites (or was shown, where it cites none): not after
    now, so that judging it again does not prolong it. An earlier end that a text has already stays.
    """
    cited = [item for item in evidence.feedback if item.id in edit.evidence]
    times = [item.at for item in cited or evidence.feedback]
    if not times:
        return edit
    episodes = [episode for id, episode in evidence.episodes.items() if id in edit.evidence]
    end, by_id = max(times) + timedelta(days=days), evidence.context.by_id

    def ended(op: Op) -> Op:
        if isinstance(op, Put) and born_of_failure(op.entry, cited, episodes):
            old = by_id.get(op.entry.id)
            again = old is not None and old.text == op.entry.text  # what it says is not new: see the gate's renewal
            return op if again else Put(entry=replace(op.entry, valid_until=_sooner(op.entry.valid_until, end)))
        if isinstance(op, Patch) and op.id in by_id and "text" in op.changes:
            return _ended_patch(op, by_id[op.id])
        return op

    def _ended_patch(op: Patch, old: Entry) -> Patch:
        changes: Mapping[str, Any] = op.changes
        if not born_of_failure(replace(old, text=changes["text"]), cited, episodes):
            return op
        until = _sooner(changes.get("valid_until", old.valid_until), end)
        return replace(op, changes={**changes, "valid_until": until})

    return replace(edit, ops=tuple(map(ended, edit.ops)))


def _sooner(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)


def _said(feedback: Iterable[Feedback]) -> Iterator[str]:
    for item in feedback:
        if item.signal in _IN_WORDS:
            yield str(item.value)
        yield item.comment


def _errors(episode: Episode) -> Iterator[str]:
    yield episode.run.error
    for call in episode.run.tool_calls:
        yield call.result or ""
