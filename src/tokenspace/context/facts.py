"""Which of the facts about one thing holds: settled here, in code, and never by whoever wrote them.

A fact has a key, which names what it is about, and may have a trigger: the condition under which it holds. Facts of
different keys never touch. Of those of one key and one condition that are in force, one is shown:

1. what a user says about themselves (`OWN` begins the key) in their own layer comes before all that others say;
2. then the higher authority (origin): a user's word does not override an operator's policy, nor a web page a user's;
3. at equal authority the nearer layer: a team's or a user's own fact before a shared one;
4. then the later `valid_from`, and at last what was written later.

A fact with a condition that the request meets is shown instead of a more general one, unless the general one has the
higher authority: a condition narrows, and never overrules. What is not shown stays in the context and the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from tokenspace.context.render import levels
from tokenspace.domain import Context, Entry, Kind, Origin, Ranked, Status

OWN: Final = "user."
"""Keys that begin so are about the users themselves: on these their own word is the last."""

_BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)
_WORD: Final = re.compile(r"\w+")
_EMPTY_WORDS: Final = frozenset(
    ["a", "an", "the", "for", "in", "of", "to", "on", "at", "when", "if", "with", "by", "and", "or", "is", "are", "be"]
)
_USER: Final = 2


def in_force(entry: Entry, now: datetime) -> bool:
    """Whether it has begun to hold and has not ended."""
    return not early(entry, now) and not expired(entry, now)


def early(entry: Entry, now: datetime) -> bool:
    """Whether it holds only from a later moment on."""
    return entry.valid_from is not None and _aware(entry.valid_from) > now


def expired(entry: Entry, now: datetime) -> bool:
    """Whether it has ceased to hold."""
    return entry.valid_until is not None and _aware(entry.valid_until) <= now


def settled(entries: Iterable[Entry], now: datetime, *, level: Mapping[str, int] | None = None) -> Mapping[str, str]:
    """The facts that do not hold, each with the id of the one of its key and condition that holds instead.

    `level` says which layer an entry is written in (0 base, 1 tenant, 2 user); without it all are of one layer.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.kind is Kind.FACT and entry.key and entry.status is Status.ACTIVE and in_force(entry, now):
            groups.setdefault((folded(entry.key), folded(entry.trigger or "")), []).append(entry)
    place = level or {}
    lost: dict[str, str] = {}
    for rivals in groups.values():
        winner = max(rivals, key=lambda one: rank_of(one, place.get(one.id, 0)))
        lost.update((one.id, winner.id) for one in rivals if one is not winner)
    return lost


def unsettled(context: Context, query: str, now: datetime, *, ranked: Sequence[Ranked] = ()) -> Mapping[str, str]:
    """Why facts are left out of the prompt for this request, by id: see the rules above.

    Where it cannot be told by words whether a condition is met, the more relevant of the two is shown first and the
    conditional one stays only if it is at least as relevant as the general one by `ranked`.
    """
    level = levels(context)
    lost = settled(context.special, now, level=level)
    reasons = {id: f"superseded by {winner}" for id, winner in lost.items()}
    keys: dict[str, list[Entry]] = {}
    for entry in context.special:
        held = entry.kind is Kind.FACT and entry.key and entry.status is Status.ACTIVE and in_force(entry, now)
        if held and entry.id not in lost:
            keys.setdefault(folded(entry.key), []).append(entry)
    asked = words_of(query)
    score = {one.id: one.score for one in ranked}
    for rivals in keys.values():
        if len(rivals) > 1:
            reasons.update(_narrowed(rivals, asked, score, level))
    return reasons


def outlived(context: Context, now: datetime) -> Mapping[str, str]:
    """What no prompt can ever show again, by id with the reason: retired, expired, or superseded for good.

    A fact is superseded for good if the one that holds instead does not end before it and is of the same layer: what
    others wrote, others may take back.
    """
    level, by_id = levels(context), context.by_id
    lost = settled(context.entries, now, level=level)
    reasons: dict[str, str] = {}
    for entry in context.entries:
        winner = by_id.get(lost.get(entry.id, ""))
        if entry.status is Status.RETIRED:
            reasons[entry.id] = "retired"
        elif expired(entry, now):
            reasons[entry.id] = "expired"
        elif winner and level[winner.id] == level[entry.id] and outlasts(winner, entry):
            reasons[entry.id] = f"superseded by {winner.id}"
    return reasons


def outlasts(winner: Entry, loser: Entry) -> bool:
    """Whether the first does not end before the second."""
    if winner.valid_until is None:
        return True
    return loser.valid_until is not None and _aware(loser.valid_until) <= _aware(winner.valid_until)


def _narrowed(
    rivals: Sequence[Entry], asked: frozenset[str], score: Mapping[str, float], level: Mapping[str, int]
) -> dict[str, str]:
    """Of facts of one key with different conditions: what is left out because of a wider or narrower one."""
    reasons: dict[str, str] = {}
    about = {one.id: condition(one.trigger) for one in rivals}
    naming: dict[str, list[Entry]] = {}
    for one in rivals:
        for word in about[one.id]:
            naming.setdefault(word, []).append(one)
    for wide in (one for one in rivals if about[one.id] <= asked):
        # What is narrower names each of its words: the rarest has the fewest to look at.
        for narrow in min((naming[word] for word in about[wide.id]), key=len, default=rivals):
            if not about[wide.id] < about[narrow.id]:
                continue
            mine, its = (authority_of(one, level.get(one.id, 0)) for one in (wide, narrow))
            if its < mine:
                reasons.setdefault(narrow.id, f"superseded by {wide.id}")
            elif about[narrow.id] <= asked:
                reasons.setdefault(wide.id, f"superseded by {narrow.id}")
            elif score.get(narrow.id, 0.0) <= score.get(wide.id, 0.0):
                reasons.setdefault(narrow.id, "its condition is not met")
    return reasons


def condition(trigger: str | None) -> frozenset[str]:
    """The words that a request must hold for a condition to be met beyond doubt; none for what holds always."""
    words = words_of(trigger or "")
    return words - _EMPTY_WORDS or words


def authority_of(entry: Entry, level: int) -> tuple[bool, Origin]:
    """Whose word counts more, whatever was said when: greater is more."""
    own = level == _USER and entry.origin >= Origin.USER and folded(entry.key).startswith(OWN)
    return own, entry.origin


def rank_of(entry: Entry, level: int) -> tuple[bool, Origin, int, datetime, str]:
    """Which of two entries that cannot both hold wins: the greater. `level` is the layer that it is written in."""
    since = _BEGINNING if entry.valid_from is None else _aware(entry.valid_from)
    return *authority_of(entry, level), level, since, entry.id


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def folded(text: str) -> str:
    """A text without case and with single spaces: what is compared."""
    return " ".join(text.casefold().split())


def words_of(text: str) -> frozenset[str]:
    """The distinct words of a text, without case and plural s."""
    return frozenset(map(_stem, _WORD.findall(text.casefold())))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
