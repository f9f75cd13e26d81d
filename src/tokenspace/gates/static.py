"""What needs no model: is the edit well-formed, small enough, new, and free of secrets?"""

from __future__ import annotations

import re
from typing import Final

from tokenspace.context import new_texts, validate
from tokenspace.context.scanner import secret_in
from tokenspace.context.skills import about
from tokenspace.domain import Drop, Entry, Kind, Origin, Verdict
from tokenspace.errors import InvalidEdit
from tokenspace.gates.trial import Trial

_OVERRIDES: Final = {
    "an order to ignore other instructions": re.compile(
        r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|other|all|your)\b"
        r".{0,20}\b(?:instructions?|rules?|prompts?|context|guidelines?)\b",
        re.IGNORECASE | re.DOTALL,
    ),
    "marks of a chat template": re.compile(r"<\|?(?:im_start|im_end|system|assistant|endoftext)\|?>|\[/?INST\]"),
    "invisible characters": re.compile("[\u202a-\u202e\u2060-\u2069\U000e0000-\U000e007f]"),
}
_COPIED_CHARS: Final = 40
"""An expected answer this long does not get into another entry by chance."""


class StaticChecks:
    """Rejects what no replay needs to look at."""

    async def check(self, trial: Trial) -> Verdict | None:
        """The first objection found, or None."""
        try:
            validate(trial.proposal.edit)
        except InvalidEdit as error:
            return trial.verdict("reject", "policy", f"not a valid edit: {error}")
        for entry in new_texts(trial.proposal.incumbent, trial.proposal.edit):
            objection = (
                _too_long(entry, trial)
                or _secret(entry)
                or _known(entry, trial)
                or _authority(entry)
                or _override(entry)
                or _copied(entry, trial)
            )
            if objection:
                return trial.verdict("reject", "policy", objection)
        return None


def _too_long(entry: Entry, trial: Trial) -> str:
    if entry.kind in (Kind.TOOL, Kind.RENDERER):
        return ""  # no text of a prompt
    profile = trial.replayer.profile
    limit = int(profile.core_tokens * trial.settings.entry_share)
    tokens = profile.count_tokens(f"{entry.trigger or ''}{entry.text}")
    if entry.kind is Kind.SKILL:
        # Its line in the index is always there; its body comes alone, to few requests.
        line = profile.count_tokens(about(entry))
        tokens, limit = (line, limit) if line > limit else (tokens, profile.core_tokens)
    return f"the entry takes up to {tokens} tokens, more than the {limit} that one may take" if tokens > limit else ""


def _secret(entry: Entry) -> str:
    found = secret_in(f"{entry.trigger or ''}\n{entry.text}")
    return f"it contains {found}" if found else ""


def _known(entry: Entry, trial: Trial) -> str:
    """What is dropped at once is not held any more, and what a fact says may be so again from another time on."""
    gone = {op.id for op in trial.proposal.edit.ops if isinstance(op, Drop)}
    same = any(
        _content(old) == _content(entry) and old.id != entry.id and old.id not in gone
        for old in trial.proposal.incumbent.entries
    )
    return "the context already holds this entry" if same else ""


def _content(entry: Entry) -> tuple[object, ...]:
    when = (entry.key, entry.valid_from) if entry.key else ()
    when = (entry.doc,) if entry.kind is Kind.TOOL_NOTE else when  # the same words about another tool are another note
    return (entry.kind, entry.trigger, entry.text, entry.status, *when)


def _authority(entry: Entry) -> str:
    instructs = entry.kind in (Kind.INSTRUCTION, Kind.SKILL)
    low = entry.origin < Origin.AGENT
    return f"its origin ({entry.origin.name.lower()}) may not give instructions" if instructs and low else ""


def _override(entry: Entry) -> str:
    """Hygiene, not a boundary: what an instruction may do is settled by its origin and by replay."""
    if entry.origin >= Origin.OPERATOR:
        return ""
    text = f"{entry.trigger or ''}\n{entry.text}"
    found = next((name for name, pattern in _OVERRIDES.items() if pattern.search(text)), "")
    return f"it contains {found}" if found else ""


def _copied(entry: Entry, trial: Trial) -> str:
    """Learning the answers of the test by heart would pass any test. An example never meets its own cluster."""
    if entry.kind is Kind.EXAMPLE:
        return ""
    own = set(trial.proposal.edit.evidence)
    for case in trial.replayer.cases:
        answer = case.grader.expected
        if not isinstance(answer, str) or len(answer) < _COPIED_CHARS:
            continue
        if answer in entry.text and not own.intersection(case.sources):
            return f"it copies the answer of case {case.id}, which is not its own evidence"
    return ""
