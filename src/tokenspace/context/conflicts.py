"""Which entries contradict each other, and which say the same: found by their words, without a model.

It finds candidates. Two rules may read alike and both be right, so whatever is made of a finding is judged.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Final

from tokenspace.context.facts import condition, folded, in_force, outlasts, rank_of, settled, words_of
from tokenspace.context.render import levels
from tokenspace.domain import Context, Entry, Kind, Status
from tokenspace.protocols import Recall

ALIKE: Final = 0.8
"""Two triggers, or two texts, are near-equal if they share this part of their words (Jaccard)."""

KIN: Final = 0.4
"""Two texts speak of the same thing if they share this part of their words, and then differ in what they say of it."""

_MEANT: Final = 0.9
"""Triggers mean the same if one scores this share of what the other scores against itself."""

COMPARED: Final = 300
"""So many of the newest examples are compared by what their triggers mean: each with each."""

_NUMBER: Final = re.compile(r"\d+(?:[.,:]\d+)*")
_NEGATION: Final = re.compile(r"\b(?:not|never|no|without|cannot|\w+n['’]t)\b", re.IGNORECASE)
_TOKEN: Final = re.compile(r"\w+|[^\w\s.,;:!?…'’\"]")
# Prepositions and conjunctions are none of them: "by Friday" is not "on Friday".
_EMPTY_WORDS: Final = frozenset(["a", "an", "the", "that", "is", "are", "be", "please", "kindly"])
_SAME_KINDS: Final = (Kind.RULE, Kind.FACT, Kind.EXAMPLE, Kind.TOOL_NOTE)
_TEXTUAL: Final = (Kind.RULE, Kind.EXAMPLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two entries that cannot both be followed: `winner` by the rules of facts, and what kind of conflict it is."""

    winner: Entry
    loser: Entry
    words: str


def contradictions(context: Context, now: datetime, *, recall: Recall | None = None) -> list[Conflict]:
    """What contradicts what among active entries in force, in the order of their ids.

    Facts of one key and condition that say different things; examples with near-equal triggers and different answers
    of one line; rules with near-equal triggers that are alike in words and differ in a number, a negation or a few
    other words. With `recall`, triggers that mean the same in other words count as near-equal, too: those of all rules,
    and those of the newest `COMPARED` examples.
    """
    level, by_id = levels(context), context.by_id
    found = [
        Conflict(winner=by_id[winner], loser=by_id[id], words=f"two facts about {by_id[id].key}")
        for id, winner in settled(context.entries, now, level=level).items()
        if folded(by_id[id].text) != folded(by_id[winner].text)
    ]
    held = {one.id: one for one in context.entries if one.kind in _TEXTUAL and _live(one, now)}
    pairs = set(_same_case(held))
    if recall is not None:
        pairs |= _same_meaning(held, recall, context.vectors)
    for one, other in sorted(pairs):
        if _opposed(held[one], held[other]):
            first, last = sorted((held[one], held[other]), key=lambda it: rank_of(it, level.get(it.id, 0)))
            found.append(Conflict(winner=last, loser=first, words=f"two {first.kind.value}s for the same requests"))
    return sorted(found, key=lambda one: (one.winner.id, one.loser.id))


def duplicates(context: Context, now: datetime) -> list[tuple[Entry, Entry]]:
    """Pairs (kept, spare) of one kind, key and condition that say the same, in the order of their ids.

    Near-equal texts do if they differ in nothing but words that say nothing: one other name, number or negation makes
    another text. Examples must have the same answer, word for word. The one to keep has the higher authority, else ends
    later, else has fewer words, else is the older one; where it would end before the other, neither can stand for both.
    """
    held = {one.id: one for one in context.entries if one.kind in _SAME_KINDS and _live(one, now)}
    found: list[tuple[Entry, Entry]] = []
    for one, other in sorted(_same_case(held)):
        pair = (held[one], held[other])
        if _says_the_same(*pair):
            first, last = sorted(pair, key=lambda it: (-it.origin, len(it.text.split()), it.id))
            if first.origin == last.origin and not outlasts(first, last):
                first, last = last, first
            if outlasts(first, last):
                found.append((first, last))
    return found


def overlap(one: str, other: str) -> float:
    """The share of their words that two texts have in common (Jaccard), in [0, 1]; 1 for two empty ones."""
    return _jaccard(words_of(one), words_of(other))


def _jaccard(mine: frozenset[str], its: frozenset[str]) -> float:
    shared = len(mine & its)
    return shared / either if (either := len(mine) + len(its) - shared) else 1.0


def _live(entry: Entry, now: datetime) -> bool:
    return entry.status is Status.ACTIVE and in_force(entry, now)


def _says_the_same(one: Entry, other: Entry) -> bool:
    if (one.kind, one.doc, folded(one.key)) != (other.kind, other.doc, folded(other.key)):
        return False
    if condition(one.trigger) != condition(other.trigger):
        return False
    if one.kind is Kind.EXAMPLE or folded(one.text) == folded(other.text):
        return folded(one.text) == folded(other.text)
    alike = overlap(one.text, other.text) >= ALIKE and _claims(one.text) == _claims(other.text)
    return alike and _content(one.text) == _content(other.text)


def _content(text: str) -> list[str]:
    """What a text says, in its order: its words and signs without the empty words."""
    return [word for word in _TOKEN.findall(text.casefold()) if word not in _EMPTY_WORDS]


def _opposed(one: Entry, other: Entry) -> bool:
    if one.kind is not other.kind or folded(one.text) == folded(other.text):
        return False
    if one.kind is Kind.EXAMPLE:
        return "\n" not in one.text + other.text
    alike = overlap(one.text, other.text)
    return alike >= KIN and (alike < ALIKE or _claims(one.text) != _claims(other.text))


def _claims(text: str) -> tuple[list[str], bool]:
    """The numbers in a text, and whether it denies something."""
    return sorted(_NUMBER.findall(text)), _NEGATION.search(text) is not None


# ── which triggers are near-equal ───────────────────────────────────────────────────────────


def _same_case(held: Mapping[str, Entry]) -> Iterator[tuple[str, str]]:
    """Pairs of ids (smaller first) that apply to the same requests; those without a trigger if they read alike."""
    yield from near_pairs({id: words_of(one.trigger) for id, one in held.items() if one.trigger}, ALIKE)
    yield from near_pairs({id: words_of(one.text) for id, one in held.items() if not one.trigger}, KIN)


def near_pairs(words: Mapping[str, frozenset[str]], share: float) -> Iterator[tuple[str, str]]:
    """Pairs of ids, smaller first, whose sets have a Jaccard similarity of at least `share`, in (0, 1].

    Prefix filtering (Chaudhuri, Ganti and Kaushik 2006): such sets have one of their rarest words in common, so few
    pairs are compared. Sets without a word have no pair.
    """
    count = Counter(word for some in words.values() for word in some)
    index: defaultdict[str, list[str]] = defaultdict(list)
    for id in sorted(words):
        rarest = sorted(words[id], key=lambda word: (count[word], word))
        prefix = rarest[: len(rarest) - ceil(share * len(rarest)) + 1]
        for other in sorted({other for word in prefix for other in index[word]}):
            least = share * max(len(words[other]), len(rarest))  # what such sets have in common at least
            if min(len(words[other]), len(rarest)) >= least and _jaccard(words[other], words[id]) >= share:
                yield other, id
        for word in prefix:
            index[word].append(id)


def _same_meaning(held: Mapping[str, Entry], recall: Recall, vectors: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Pairs of ids (smaller first) of which one trigger means what the other does.

    To compare each with each is too slow, and few can be opposed. Only rules that are kin in their words can, and only
    those are asked about. Any two examples can, so that it is the newest that are compared.
    """
    rules = [one for one in held.values() if one.trigger and one.kind is Kind.RULE]
    kin: defaultdict[str, list[str]] = defaultdict(list)
    for one, other in near_pairs({rule.id: words_of(rule.text) for rule in rules}, KIN):
        kin[one].append(other)
    examples = [one for one in held.values() if one.trigger and one.kind is Kind.EXAMPLE and "\n" not in one.text]
    newest = sorted(one.id for one in sorted(examples, key=lambda one: one.id)[-COMPARED:])
    beside = {id: newest[at + 1 :] for at, id in enumerate(newest)}
    found = set[tuple[str, str]]()
    for entries, others in ((rules, kin), (examples, beside)):
        for id, likely in others.items():
            scores = {one.id: one.score for one in recall.rank(entries, vectors, held[id].trigger or "")}
            enough = _MEANT * scores.get(id, 0.0)
            found |= {(id, other) for other in likely if 0 < enough <= scores.get(other, 0.0)}
    return found
