"""`fact`: what a person states becomes a keyed fact. Code reads what is plain, and code settles which fact holds.

"Refund window: 30 days", "The refund window is 30 days from 2026-03-01" and "For premium customers, the refund window
is 60 days" are read without a model. A model may find the key, the value, the day and the condition in other words;
it must copy value and condition from what was said, and it never decides which of two facts holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from tokenspace.budget import Budget
from tokenspace.context import in_force, settled
from tokenspace.context.check import objection
from tokenspace.context.facts import OWN, folded
from tokenspace.domain import MAX_NAME_CHARS, Edit, Entry, Evidence, Feedback, Kind, Origin, Put, Scope, Signal
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.protocols import Reach

MOST: Final = 4
_MOST_CHARS: Final = 300
_KEY_WORDS: Final = 6

_ASKED: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "facts": {
            "type": "array",
            "maxItems": MOST,
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("key", "value", "valid_from", "condition")},
                "required": ["key", "value", "valid_from", "condition"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["facts"],
    "additionalProperties": False,
}

_CONDITION: Final = re.compile(r"(?:when|if|for|in) ([^,:]{3,80}), (?=\S)", re.IGNORECASE)
_DAY: Final = re.compile(r"[,;]?\s*\(?(?:from|since|as of|starting|effective)\s+(\d{4}-\d{2}-\d{2})\)?$", re.IGNORECASE)
_COLON: Final = re.compile(r"(?P<key>[^:;,.!?\n]{2,60}?)\s*:\s+(?P<value>[^\n]+)")
_IS: Final = re.compile(
    r"(?P<key>(?:the|our|my|your)\s[^:;,.!?\n]{2,60}?)\s+(?:is now|are now|is|are|=)\s+(?P<value>[^\n]+)", re.IGNORECASE
)
_VALUE: Final = re.compile(r"[\d$€£\"'A-Z#/@+-]")
"""How the value of a plain "X is Y" begins: "our office is in Berlin" and "is closed on Fridays" do not contradict."""

_ARTICLE: Final = re.compile(r"^(?:the|our|your|an?)\s+", re.IGNORECASE)
_MY: Final = re.compile(r"^my\s+", re.IGNORECASE)
_REMARK: Final = re.compile(
    r"^(?:note|notes|nb|hint|tip|reminder|rule|please|always|never|correction|feedback|example|answer|reply|question|todo"
    r"|important|warning|better|instead|error|traceback|https?|for|when|if|in|on|with|to|from|about|use|send|say|write"
    r"|ask|tell|add|give|call|treat|route|map|make|be|do|don't|put|set|check|go|keep|avoid|try|remember|i|we|you)\b",
    re.IGNORECASE,
)
_OF_THE_ANSWER: Final = re.compile(
    r"\b(?:answers?|repl(?:y|ies)|responses?|outputs?|it|this|that|these|those|there|here|what|problem|issue|question"
    r"|same|rest|reason|point)\b|^(?:\w+ )?(?:tone|style|wording|length|format)$",
    re.IGNORECASE,
)
_JUDGEMENT: Final = re.compile(
    r"^(?:too|wrong|right|correct|incorrect|bad|good|better|worse|fine|ok|okay|unclear|clear|missing|not|never|very|so"
    r"|always|what|why|how|where|supposed|to be|great|perfect|useless|nice|it|they|we|you|i|he|she|use|do|don't)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a text states: of `key` that it is `value`, from a day on, under a condition. `text` is how to show it."""

    key: str
    value: str
    text: str
    valid_from: datetime | None = None
    condition: str = ""


def read_fact(words: str) -> Said | None:
    """The fact that one plain sentence states, or None where it is not plain.

    >>> read_fact("The refund window is 30 days.").key
    'refund window'
    >>> read_fact("Your answer is wrong.") is None
    True
    """
    text = words.strip()
    if not 5 <= len(text) <= _MOST_CHARS or "\n" in text or text.endswith("?"):
        return None
    core, condition = text.rstrip(".! "), ""
    if found := _CONDITION.match(core):
        condition, core = found[1].strip(), core[found.end() :]
    day = _DAY.search(core)
    core = core[: day.start()] if day else core
    found = _IS.fullmatch(core)
    if found is not None and not _VALUE.match(found["value"]):
        return None
    found = found or _COLON.fullmatch(core)
    if found is None or re.search(r"[.!?;] ", found["value"]):
        return None
    key, value = found["key"].strip(), found["value"].strip()
    if _REMARK.match(key) or _OF_THE_ANSWER.search(key) or _JUDGEMENT.match(value):
        return None
    key = key_of(key)
    since = _day(day[1]) if day else None
    if len(key.split()) > _KEY_WORDS or not key or not value or (day and since is None):
        return None
    return Said(key=key, value=value, text=text, valid_from=since, condition=condition)


def key_of(name: str) -> str:
    """The key of a thing: lower case, single spaces, no article; what is "my" is the user's own.

    >>> key_of("The Refund  window"), key_of("my currency")
    ('refund window', 'user.currency')
    """
    name = folded(name)
    return OWN + _MY.sub("", name) if _MY.match(name) else _ARTICLE.sub("", name)


class Fact:
    """Feedback in words by a person → at most `MOST` facts. Without an `asker`, only what is plain is read.

    What a person says of themselves ("my …") is a fact of their own layer only. A statement that holds already is not
    said again. `Adopt` takes what this proposer leaves.
    """

    reach: Reach = "one"

    def __init__(self, asker: Asker | None = None) -> None:
        self._asker = asker
        self.name = wording("fact@1").cited if asker else "fact@1"

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """The facts that the feedback states; None if there is none. Raises `InvalidEdit` for what was not said."""
        ops, used, read = list[Put](), list[str](), list[str]()
        for item in evidence.feedback:
            if item.signal is not Signal.TEXT or item.source < Origin.USER or not str(item.value).strip():
                continue
            plain = read_fact(str(item.value))
            said = [plain] if plain else await self._asked(item, evidence, read, budget)
            found = [one for one in said if _may_say(one, evidence.scope) and not _holds(one, item, evidence)]
            if found:
                ops += [Put(entry=_entry(one, item)) for one in found]
                used += [item.id, item.episode]
        if not ops:
            return None
        return Edit(ops=tuple(ops), rationale="what somebody stated", evidence=tuple(used), read=tuple(read))

    async def _asked(self, item: Feedback, evidence: Evidence, read: list[str], budget: Budget) -> list[Said]:
        """What a model finds in the words; it is shown the keys of facts of no lower origin than the words'."""
        if self._asker is None:
            return []
        facts = [one for one in evidence.context.entries if one.kind is Kind.FACT and one.key]
        shown = [one for one in facts if one.origin >= item.source]
        told = {"said": str(item.value), "said_on": f"{item.at:%Y-%m-%d}", "known": sorted({one.key for one in shown})}
        answer = await self._asker.ask(evidence.scope, wording("fact@1"), told, _ASKED, budget=budget)
        found = cast("list[Mapping[str, str]]", answer["facts"])
        if found:
            read += [one.id for one in shown if one.id not in read]
        return [_checked(one, str(item.value)) for one in found]


def _checked(found: Mapping[str, str], words: str) -> Said:
    """What a model found, if the words hold it."""
    key, value, condition = key_of(found["key"]), found["value"].strip(), found["condition"].strip()
    since = _day(found["valid_from"]) if found["valid_from"] else None
    if not key or len(key) > MAX_NAME_CHARS or not key.isprintable() or (found["valid_from"] and since is None):
        raise InvalidEdit("a fact has no usable key or day", hint="a key is a short name, a day is YYYY-MM-DD")
    for what, copied in (("value", value), ("condition", condition)):
        if folded(copied) not in folded(words) or (what == "value" and objection(copied)):
            raise InvalidEdit(f"the {what} of a fact is not in what was said", hint="it must be copied word for word")
    return Said(key=key, value=value, text=f"{key.removeprefix(OWN)}: {value}", valid_from=since, condition=condition)


def _entry(said: Said, item: Feedback) -> Entry:
    trigger = item.trigger or said.condition or None
    since = said.valid_from or item.at
    return Entry(kind=Kind.FACT, doc="facts", key=said.key, text=said.text, trigger=trigger, valid_from=since)


def states_fact(words: str, scope: Scope) -> bool:
    """Whether `Fact` takes these words without a model."""
    said = read_fact(words)
    return said is not None and _may_say(said, scope)


def _may_say(said: Said, scope: Scope) -> bool:
    """What somebody says of themselves is nobody else's fact."""
    return bool(scope.user) or not said.key.startswith(OWN)


def _holds(said: Said, item: Feedback, evidence: Evidence) -> bool:
    """Whether the same is said by a fact that holds when it is said, on no lower authority."""
    lost = settled(evidence.context.entries, item.at)
    made = _entry(said, item)
    return any(
        one.kind is Kind.FACT
        and (folded(one.key), folded(one.trigger or "")) == (folded(made.key), folded(made.trigger or ""))
        and folded(one.text) == folded(made.text)
        and one.origin >= item.source
        and one.id not in lost
        and in_force(one, item.at)
        for one in evidence.context.entries
    )


def _day(text: str) -> datetime | None:
    try:
        day = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return day if day.tzinfo else day.replace(tzinfo=UTC)
