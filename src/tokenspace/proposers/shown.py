"""What a model is shown of the evidence, and what an edit that came of it must therefore name.

Everything that others wrote goes into one JSON object, with short handles ("f1", "e2") in place of ids: a model can
name nothing that it was not shown. Texts are cut, and say where. What is left out on purpose:

* an *example*, since it is the answer of a case, by which the edit may be judged (I7);
* an *answer that may repeat what a tool returned*, since whatever is learned from it would have that origin (I9);
* entries and rejected edits of an origin below the evidence's, or the agent's if that is lower, for the same reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar

from tokenspace.context import cluster_of, loss_of, validate
from tokenspace.context.taint import heard, quoted
from tokenspace.domain import (
    Attempt,
    Drop,
    Edit,
    Entry,
    Episode,
    Evidence,
    Feedback,
    Kind,
    Op,
    Origin,
    Patch,
    Put,
    Restore,
    Signal,
    Status,
)
from tokenspace.errors import InvalidEdit

MAX_FAILURES: Final = 6
MAX_SUCCESSES: Final = 4
MAX_ENTRIES: Final = 12
MAX_REJECTED: Final = 5
CUTS: Final = (1_200, 600, 300, 150)
"""A text is cut after so many characters: the first of these with which the whole fits the model."""

GUIDING: Final = frozenset({Kind.INSTRUCTION, Kind.RULE, Kind.FACT, Kind.TOOL_NOTE, Kind.SKILL})
"""Kinds of entries that say how to act; all but examples."""

HIDDEN: Final = "[not shown: it may repeat what a tool returned]"

Fits = Callable[[Mapping[str, Any]], bool]

_T = TypeVar("_T")
_SAYS_OUTPUT: Final = frozenset({Signal.CORRECTION, Signal.EDIT, Signal.DEMONSTRATION})
_SAYS_WORDS: Final = frozenset({Signal.TEXT, Signal.TEST_LOG})


@dataclass(frozen=True, kw_only=True)
class Trace:
    """An episode with what was said about it, oldest first."""

    episode: Episode
    feedback: tuple[Feedback, ...]

    @cached_property
    def loss(self) -> float | None:
        """The newest measured loss in [0, 1]; None where there are only words. An agent does not measure itself."""
        losses = [loss for item in self.feedback if (loss := _measured(item)) is not None]
        return losses[-1] if losses else None

    @property
    def failed(self) -> bool:
        """Whether it fell short; an episode that somebody only talked about counts as one that did."""
        return self.loss > 0 if self.loss is not None else any(item.signal in _SAYS_WORDS for item in self.feedback)

    @property
    def echoes(self) -> bool:
        """Whether the answer may repeat what a tool returned, or a learned text of as little authority."""
        return heard(self.episode) < Origin.AGENT

    @property
    def cited(self) -> tuple[str, ...]:
        """What an edit made from it cites: the episode and what measured it.

        Words are read and not cited: an edit that cites nothing but a user's words about their own context passes
        for an instruction in those words (gate.md, T2), and here it is in a model's.
        """
        return (self.episode.id, *(item.id for item in self.feedback if _measured(item) is not None))

    def told(self, chars: int) -> dict[str, Any]:
        """It as data, each text cut after so many characters."""
        answer = HIDDEN if self.echoes else cut(self.episode.output or f"(none: {self.episode.run.error})", chars)
        named = [one for one in self.feedback if one.signal in _SAYS_OUTPUT and _measured(one)]
        mended = [self.echoes and quoted(one, self.episode) for one in named]  # I9: what is left of it still speaks
        right = [HIDDEN if own else cut(str(one.value), chars) for one, own in zip(named, mended, strict=True)]
        words = [str(item.value) for item in self.feedback if item.signal in _SAYS_WORDS]
        words += [item.comment for item in self.feedback if item.comment.strip()]
        found: dict[str, Any] = {"request": cut(self.episode.request.query, chars), "answer": answer}
        found |= {"right_answer": right[-1]} if right else {}
        found |= {"said": [cut(one, chars) for one in words[-3:]]} if words else {}
        return found | ({"score": round(1 - self.loss, 3)} if self.loss is not None else {})


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a model was told, and what its handles mean.

    `causes` are the failures that an edit may be caused by, and `entries` what was active, by handle. `level` is the
    least authority of all feedback; `read` holds every id that the model saw something of, and those of near copies of
    the requests that it saw.
    """

    told: Mapping[str, Any]
    causes: Mapping[str, tuple[Trace, ...]]
    entries: Mapping[str, Entry]
    level: Origin
    read: frozenset[str]

    def edit(self, ops: Iterable[Op], *, because: Collection[str], rationale: str) -> Edit:
        """An edit caused by what these handles stand for; raises `InvalidEdit` for one that could never apply."""
        if not because:
            raise InvalidEdit("the edit names nothing that caused it", hint="name at least one failure")
        evidence = tuple(sorted({id for name in because for trace in self.causes[name] for id in trace.cited}))
        read = tuple(sorted(self.read.difference(evidence)))
        made = Edit(ops=tuple(ops), rationale=cut(one_line(rationale), 300), evidence=evidence, read=read)
        validate(made)
        return made


def _measured(feedback: Feedback) -> float | None:
    return None if feedback.source is Origin.AGENT else loss_of(feedback)


# ── choosing ────────────────────────────────────────────────────────────────────────────────


def traces(evidence: Evidence) -> list[Trace]:
    """The episodes of the evidence with what was said about each, oldest first."""
    said: dict[str, list[Feedback]] = {}
    for item in sorted(evidence.feedback, key=lambda item: (item.at, item.id)):
        said.setdefault(item.episode, []).append(item)
    return [Trace(episode=evidence.episodes[id], feedback=tuple(items)) for id, items in said.items()]


def level_of(evidence: Evidence) -> Origin:
    """The least authority that anything in the feedback has; unknown without any."""
    return min((item.source for item in evidence.feedback), default=Origin.UNKNOWN)


def activated(evidence: Evidence, among: Sequence[Trace], *, kinds: Collection[Kind] = GUIDING) -> list[Entry]:
    """Entries that were shown in these episodes and are visible still, those in most of them first."""
    floor, visible = min(level_of(evidence), Origin.AGENT), evidence.context.by_id
    count = Counter(id for trace in among for id in dict.fromkeys(trace.episode.shown))
    found = [
        visible[id]
        for id in count
        if id in visible
        and visible[id].kind in kinds
        and visible[id].origin >= floor
        and visible[id].status is Status.ACTIVE
    ]
    return sorted(found, key=lambda entry: (-count[entry.id], entry.order))


def standing(evidence: Evidence, among: Sequence[Trace]) -> list[Entry]:
    """Rules that stand now and were not shown in these episodes, newest first, so that nobody finds them once more.

    Those without a trigger, and those that share a word with one of the requests.
    """
    floor, asked = min(level_of(evidence), Origin.AGENT), words_of(*(trace.episode.request.query for trace in among))
    then = {id for trace in among for id in trace.episode.shown}
    found = [
        entry
        for entry in evidence.context.entries
        if entry.kind is Kind.RULE
        and entry.id not in then
        and entry.origin >= floor
        and entry.status is Status.ACTIVE
        and (entry.trigger is None or words_of(entry.trigger, entry.text) & asked)
    ]
    return sorted(found, key=lambda entry: entry.id, reverse=True)


def show(
    evidence: Evidence, fits: Fits, *, kinds: Collection[Kind], beside: Mapping[str, Any] | None = None
) -> Shown | None:
    """The newest failures and successes, the entries that were active, the rejected edits; None without a failure.

    Only failures that somebody measured can cause an edit; words alone are for `adopt`. `kinds` are those of the
    rejected edits. What is told is the first of CUTS that `fits`, with what is put `beside` it.
    """
    known = traces(evidence)
    failed = [trace for trace in known if trace.failed]
    failures = handles("f", failed[-MAX_FAILURES:])
    successes = handles("s", [trace for trace in known if trace.loss == 0][-MAX_SUCCESSES:])
    # What has no measured failure cannot cause anything, and its handle is not offered.
    causes = {name: (trace,) for name, trace in failures.items() if trace.loss}

    def told(chars: int) -> dict[str, Any]:
        return {
            "failures": [{"id": name, **trace.told(chars)} for name, trace in failures.items()],
            "failures_in_all": len(failed),
            "successes": [{"id": name, **trace.told(chars)} for name, trace in successes.items()],
            **(beside or {}),
        }

    among = (*failures.values(), *successes.values())
    return shown_with(evidence, told, fits, causes=causes, among=among, kinds=kinds) if causes else None


def shown_with(
    evidence: Evidence,
    told: Callable[[int], dict[str, Any]],
    fits: Fits,
    *,
    causes: Mapping[str, tuple[Trace, ...]],
    among: Sequence[Trace],
    kinds: Collection[Kind],
) -> Shown:
    """What is `told` at some cut of texts, with what was active in the traces it is `among`, and what was rejected."""
    active = activated(evidence, among)[:MAX_ENTRIES]
    entries = handles("e", [*active, *standing(evidence, among)][:MAX_ENTRIES])
    rejected = rejected_edits(evidence, kinds)
    whole: dict[str, Any] = {}
    for chars in CUTS:
        told_of = [{"id": name, **entry_told(entry, chars)} for name, entry in entries.items()]
        whole = {
            "activated": told_of[: len(active)],
            "standing": told_of[len(active) :],
            "rejected": [_rejected_told(one, evidence, chars) for one in rejected],
            **told(chars),
        }
        if fits(whole):
            break
    read = {
        *seen_with(evidence, among), *(entry.id for entry in entries.values()), *read_with(evidence, rejected)
    }  # fmt: skip
    return Shown(told=whole, causes=causes, entries=entries, level=level_of(evidence), read=frozenset(read))


def seen_with(evidence: Evidence, shown: Iterable[Trace]) -> set[str]:
    """Ids of the episodes and feedback about the requests of these traces, near copies included (I7)."""
    requests = {cluster_of(trace.episode.request) for trace in shown}
    return {
        id
        for item in evidence.feedback
        if cluster_of(evidence.episodes[item.episode].request) in requests
        for id in (item.id, item.episode)
    }


# ── rejected edits ──────────────────────────────────────────────────────────────────────────


def rejected_edits(evidence: Evidence, kinds: Collection[Kind]) -> list[Attempt]:
    """The newest rejected edits of entries of these kinds that may be shown, those about this feedback last.

    Of no lower origin than the evidence (or the agent's, which all that a model writes has): what was rejected of
    somebody with less authority must not speak through the next proposal.
    """
    ids = {item.id for item in evidence.feedback}
    fit = [one for one in evidence.rejected if one.edit is not None and _may_show(one.edit, evidence, kinds)]
    return sorted(fit, key=lambda one: (not ids.isdisjoint(one.evidence), one.at, one.id))[-MAX_REJECTED:]


def read_with(evidence: Evidence, rejected: Iterable[Attempt]) -> set[str]:
    """Ids to name as read with these attempts: theirs, of what caused them, of the visible entries they are about."""
    found: set[str] = set()
    for one in rejected:
        ops = one.edit.ops if one.edit else ()
        found |= {one.id, *(one.edit.evidence if one.edit else ())}
        found |= {op.id for op in ops if not isinstance(op, Put) and op.id in evidence.context.by_id}
    return found


def _may_show(edit: Edit, evidence: Evidence, kinds: Collection[Kind]) -> bool:
    floor, visible = min(level_of(evidence), Origin.AGENT), evidence.context.by_id
    for op in edit.ops:
        if isinstance(op, Put):
            kind, origin = op.entry.kind, op.entry.origin
        elif op.id not in visible or isinstance(op, Restore):
            return False
        else:
            kind, origin = visible[op.id].kind, visible[op.id].origin
            origin = min(origin, op.changes.get("origin", origin)) if isinstance(op, Patch) else origin
        if kind not in kinds or origin < floor:
            return False
    return bool(edit.ops)


def _rejected_told(attempt: Attempt, evidence: Evidence, chars: int) -> dict[str, Any]:
    operations: list[dict[str, Any]] = []
    for op in attempt.edit.ops if attempt.edit else ():
        if isinstance(op, Put):
            operations.append({"op": "add", **entry_told(op.entry, chars)})
        else:
            old = evidence.context.by_id[op.id]
            changes = {k: v for k, v in op.changes.items() if k in ("text", "trigger")} if isinstance(op, Patch) else {}
            name = "drop" if isinstance(op, Drop) else "patch"
            operations.append({"op": name, **entry_told(replace(old, **changes), chars)})
    return {"operations": operations, "reason": cut(attempt.verdict.reason, 200)}


# ── texts ───────────────────────────────────────────────────────────────────────────────────


def entry_told(entry: Entry, chars: int) -> dict[str, Any]:
    """An entry as data, without its id."""
    trigger = None if entry.trigger is None else cut(entry.trigger, chars)
    return {"kind": entry.kind.value, "trigger": trigger, "text": cut(entry.text, chars)}


def cut(text: str, chars: int) -> str:
    """The text, or its first characters and how many are missing.

    >>> cut("abcdefgh", 3)
    'abc… [5 more characters]'
    """
    return text if len(text) <= chars else f"{text[:chars]}… [{len(text) - chars:,} more characters]"


def one_line(text: str) -> str:
    """The text with each run of white space as one space."""
    return " ".join(text.split())


def words_of(*texts: str) -> frozenset[str]:
    """The words in these texts that are long enough to mean something."""
    return frozenset(word for text in texts for word in re.findall(r"\w{4,}", text.casefold()))


def handles(letter: str, things: Iterable[_T]) -> dict[str, _T]:
    """Short names for things in their order, such as f1, f2 and f3."""
    return {f"{letter}{number}": thing for number, thing in enumerate(things, start=1)}
