"""`rewrite`: one instruction, mutated by reflection on a minibatch of traces (the GEPA role)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.domain import Edit, Entry, Evidence, Kind, Origin, Patch
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.reflect import closed
from tokenspace.proposers.shown import MAX_FAILURES, activated, one_line, show, traces
from tokenspace.protocols import Reach

MOST_CHARS: Final = 4_000
GROWTH_CHARS: Final = 600
"""A rewrite may add so many characters, and never pass MOST_CHARS unless the old text does."""

LEAST_SHARE: Final = 0.5
"""A rewrite keeps this share of the old text's length: what shrinks a text to its gist loses what it learned."""

_WORDS: Final = wording("rewrite@1")
_PLACEHOLDER: Final = re.compile(r"\{\{?[\w.]*\}?\}|\$\{?[A-Za-z_]\w*\}?|</?[A-Za-z][\w-]*>|%\(\w+\)[sd]|%[sd]")


class Rewrite:
    """Asks a model for a new text of the instruction that was shown in most of a cluster's failures.

    That may be an inherited one: it is then overridden in this scope only. The new text keeps every placeholder, is
    neither a stump of the old one nor much longer, and differs from it; else the proposal is invalid. What it may do
    is for the gate, which is nowhere stricter than with instructions.
    """

    name: str = _WORDS.cited
    reach: Reach = "cluster"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """A patch of one instruction; None without one, without a measured failure, or if it is not the cause."""
        old = chosen(evidence)
        if old is None:
            return None
        widest, beside = schema([f"f{n}" for n in range(MAX_FAILURES)], old), {"instruction": old.text}
        shown = show(
            evidence, lambda told: self._asker.fits(_WORDS, told, widest), kinds={Kind.INSTRUCTION}, beside=beside
        )
        if shown is None:
            return None
        asked = schema(list(shown.causes), old)
        said = await self._asker.ask(evidence.scope, _WORDS, shown.told, asked, budget=budget)
        if said["text"] is None:
            return None
        text = check(said["text"].strip(), old)
        op = Patch(id=old.id, changes={"text": text, "origin": Origin.AGENT})
        return shown.edit([op], because=said["because"], rationale=said["diagnosis"])


def chosen(evidence: Evidence) -> Entry | None:
    """The instruction to rewrite: shown in most of the failures; of equals, one of the scope's own layer."""
    failed = [trace for trace in traces(evidence) if trace.failed]
    own = evidence.context.layers[-1].own
    count = Counter(id for trace in failed for id in dict.fromkeys(trace.episode.shown))
    found = activated(evidence, failed, kinds={Kind.INSTRUCTION})
    return min(found, key=lambda entry: (-count[entry.id], entry.id not in own, entry.order), default=None)


def schema(failures: list[str], old: Entry) -> dict[str, Any]:
    """What an answer looks like, when these are the handles of the failures."""
    return closed(
        {
            "diagnosis": {"type": "string", "maxLength": 1_000},
            "text": {"type": ["string", "null"], "maxLength": most_chars(old)},
            "because": {"type": "array", "maxItems": len(failures), "items": {"enum": failures}},
        }
    )


def most_chars(old: Entry) -> int:
    """The longest text that may take the place of the old one, in characters."""
    return max(len(old.text), min(len(old.text) + GROWTH_CHARS, MOST_CHARS))


def check(text: str, old: Entry) -> str:
    """The new text; raises `InvalidEdit` if it must not take the old one's place."""
    if one_line(text) == one_line(old.text):
        raise InvalidEdit("the instruction is rewritten to what it was", hint="answer with null if it is not the cause")
    if len(text) < LEAST_SHARE * len(old.text):
        raise InvalidEdit(
            f"the instruction shrinks from {len(old.text):,} to {len(text):,} characters",
            hint="change what causes the failures, and keep the rest",
        )
    lost, added = placeholders(old.text) - placeholders(text), placeholders(text) - placeholders(old.text)
    if lost or added:
        what = ", ".join(sorted(lost or added)[:5])
        raise InvalidEdit(
            f"the rewritten instruction {'lacks' if lost else 'adds'} placeholders: {what}",
            hint="keep them as they are",
        )
    return text


def placeholders(text: str) -> frozenset[str]:
    """What a program may fill in or look for: {name}, {{name}}, ${name}, <tag>, %(name)s.

    >>> sorted(placeholders("Dear {name}, see <order> at $HOME: 100 %, {not one}"))
    ['$HOME', '<order>', '{name}']
    """
    return frozenset(_PLACEHOLDER.findall(text))
