"""`share`: a lesson that several users have learned each for themselves becomes one lesson for all. Needs no model.

Nothing is copied from anybody. A lesson is made anew from structured fields on which the users agree: for examples the
answer and the words that each of them used, sorted; for facts the key and the value. It is refused if five words in a
row were written by one of them only, or if it holds anything that looks like personal data, a secret, or a string
that must not leave its owner. Who stands for it is recorded by ids alone. What protects is structure and support, not
the scanner: what fewer than k users said is not there to be found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tokenspace.context.evasion import holds_any
from tokenspace.context.facts import OWN
from tokenspace.context.scanner import masked, scan
from tokenspace.context.screening import screened
from tokenspace.context.trust import SPAN, words_of
from tokenspace.domain import Entry, Kind, Origin, Scope, Status, digest
from tokenspace.proposers.fact import read_fact

NAME: Final = "share@1"
SUPPORT: Final = 5
"""So many distinct principals must have learned the same."""
LEAST_SUPPORT: Final = 3
LEAST_WORDS: Final = 2
"""A kind of request is named by at least so many words; by fewer it would be nearly every request."""
MOST_WORDS: Final = 8
ANSWER_WORDS: Final = 12
_PLAIN: Final = re.compile(r"[\w .,:;%€$£#+()/-]{1,80}")
_LITTLE: Final = """
    a about an and are as at be been but by can could did do does for from get got had has have hello hey hi how i if in
    is it its me my no not of off on or our out please she he so some than thank thanks that the their them then there
    they this to too up us was we were what when where which who why will with would yes you your
"""
_COMMON: Final = frozenset(_LITTLE.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One entry of one user's own layer, with the authenticated principals that stand for it (`stands`).

    `echo` says that a shared entry with the same answer was shown in an episode that it came from.
    """

    scope: Scope
    entry: Entry
    principals: frozenset[str]
    echo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A lesson for all: its text, and the lessons that stand for it."""

    entry: Entry
    lessons: tuple[Lesson, ...]

    @property
    def principals(self) -> frozenset[str]:
        """Who stands for it: everybody who taught any of the lessons."""
        return frozenset[str]().union(*(one.principals for one in self.lessons))

    @property
    def key(self) -> str:
        """Names what it says, whoever says it."""
        return digest([self.entry.kind, self.entry.key, self.entry.trigger, self.entry.text])


def stands(principal: str, scope: Scope, layer: Scope) -> str:
    """Who stands in a layer for what a principal taught in a user's scope below it; alike names count once.

    Whom the host itself has let in is a person anywhere. A key of the gateway, or its open door, names users as it
    likes, and the tenant's administrator makes keys: such a user is one of those that the tenant vouches for within
    itself, by whatever key, and above the tenant all of them are the tenant's one word.
    """
    if not principal.startswith("key ") and principal.partition("/")[0] != "open":
        return principal
    return scope.user if layer.tenant else f"tenant {scope.tenant}"


def may_count(lesson: Lesson) -> bool:
    """Whether it is a user's own word: served to them, taught by a person, and no echo of what is shared (I13)."""
    entry = lesson.entry
    own = entry.status is Status.ACTIVE and entry.origin >= Origin.USER and bool(lesson.principals)
    return own and not lesson.echo and bool(lesson.scope.user)


def agreed(lessons: Iterable[Lesson], *, support: int = SUPPORT, canaries: Iterable[str] = ()) -> list[Shared]:
    """The lessons that at least `support` distinct principals (never fewer than three) have each learned.

    `canaries` are strings that must not be in any of them, such as the names of users. In the order of their keys.
    """
    known, k = [one for one in lessons if may_count(one)], max(support, LEAST_SUPPORT)
    planted = [text for text in canaries if text]
    found = [*_facts(known, k), *_examples(known, k)]
    clean = [one for one in found if not objection(one, planted)]
    return sorted(clean, key=lambda one: one.key)


def supporters(entry: Entry, lessons: Iterable[Lesson]) -> list[Lesson]:
    """The lessons that stand for a shared entry now."""
    return [one for one in lessons if may_count(one) and _says(one.entry, entry)]


def objection(shared: Shared, canaries: Sequence[str]) -> str:
    """Why a lesson must not leave its users, in words without any of it; "" if it may."""
    entry = shared.entry
    text = f"{entry.trigger or ''}\n{entry.text}"
    if found := scan(text):
        return f"it may hold personal data or a secret ({found[0].kind})"
    if holds_any(text, canaries):
        return "it holds a string that must not leave its owner"
    if signs := screened(text):
        return f"it looks like an injected instruction ({signs[0].kind})"
    return "five words in a row are one principal's own" if _one_only(shared) else ""


def _one_only(shared: Shared) -> bool:
    """Whether any span of five words was written by one principal alone."""
    writers: dict[tuple[str, ...], set[str]] = {}
    for lesson in shared.lessons:
        for span in _spans(f"{lesson.entry.trigger or ''}\n{lesson.entry.text}"):
            writers.setdefault(span, set()).update(lesson.principals)
    said = _spans(shared.entry.text) | _spans(shared.entry.trigger or "")
    return any(len(writers.get(span, ())) == 1 for span in said)


def _spans(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[at : at + SPAN]) for at in range(len(words) - SPAN + 1)}


# ── facts ───────────────────────────────────────────────────────────────────────────────────


def _facts(lessons: Sequence[Lesson], k: int) -> list[Shared]:
    groups: dict[tuple[str, str], list[Lesson]] = {}
    for one in lessons:
        stated = _stated(one.entry)
        if stated is not None:
            groups.setdefault(stated, []).append(one)
    made = [_shared_fact(key, value, group) for (key, value), group in sorted(groups.items())]
    return [one for one in made if len(one.principals) >= k]


def _stated(entry: Entry) -> tuple[str, str] | None:
    """Key and value of a plain fact without condition, folded; None for any other entry, and for what is "my"."""
    if entry.kind is not Kind.FACT or not entry.key or entry.key.startswith(OWN) or entry.trigger is not None:
        return None
    said = read_fact(entry.text)
    value = " ".join((said.value if said else "").split())
    plain = said is not None and said.key == entry.key and _PLAIN.fullmatch(value)
    return (entry.key, value.casefold()) if plain and len(words_of(value)) <= ANSWER_WORDS else None


def _shared_fact(key: str, value: str, group: Sequence[Lesson]) -> Shared:
    spelled = Counter(said.value for one in group if (said := read_fact(one.entry.text)))
    best = max(sorted(spelled), key=lambda way: spelled[way]) if spelled else value
    entry = Entry(kind=Kind.FACT, doc="facts", key=key, text=f"{key}: {' '.join(best.split())}", origin=_least(group))
    return Shared(entry=entry, lessons=tuple(group))


# ── examples ────────────────────────────────────────────────────────────────────────────────


def _examples(lessons: Sequence[Lesson], k: int) -> list[Shared]:
    groups: dict[str, list[Lesson]] = {}
    for one in lessons:
        entry = one.entry
        short = _PLAIN.fullmatch(entry.text) and len(words_of(entry.text)) <= ANSWER_WORDS
        if short and entry.kind is Kind.EXAMPLE and entry.trigger:
            groups.setdefault(entry.text, []).append(one)
    return [made for answer, group in sorted(groups.items()) for made in _families(answer, group, k)]


def _families(answer: str, group: Sequence[Lesson], k: int) -> list[Shared]:
    """Kinds of request with this answer, each named by the words that all who stand for it have used."""
    left, found = list(group), list[Shared]()
    while True:
        family, standing = _family(left, k)
        if len(family) < LEAST_WORDS:
            return found
        entry = Entry(kind=Kind.EXAMPLE, doc="examples", trigger=" ".join(family), text=answer, origin=_least(standing))
        found.append(Shared(entry=entry, lessons=tuple(standing)))
        left = [one for one in left if one not in standing]


def _family(lessons: Sequence[Lesson], k: int) -> tuple[list[str], list[Lesson]]:
    """Words that at least k principals have in their requests, all of them together; greedily, the commonest first."""
    words = {one.entry.id: _content(one.entry.trigger or "") for one in lessons}
    family, standing = list[str](), list(lessons)
    while len(family) < MOST_WORDS:
        said: dict[str, set[str]] = {}
        for one in standing:
            for word in words[one.entry.id].difference(family):
                said.setdefault(word, set()).update(one.principals)
        best = max(sorted(said), key=lambda word: len(said[word]), default="")
        if not best or len(said[best]) < k:
            break
        family.append(best)
        standing = [one for one in standing if best in words[one.entry.id]]
    return sorted(family), standing


def _content(text: str) -> frozenset[str]:
    """The words that say what a request is about: no personal data, numbers or little words; plurals as one."""
    found = scan(text)
    bare = masked(text, [replace(one, kind=" ") for one in found]) if found else text
    words = (word for word in words_of(bare) if word not in _COMMON and word.isalpha() and len(word) > 1)
    return frozenset(map(_singular, words))


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


# ── both ────────────────────────────────────────────────────────────────────────────────────


def _says(own: Entry, shared: Entry) -> bool:
    """Whether a user's entry says what a shared one says."""
    if own.kind is not shared.kind:
        return False
    if shared.kind is Kind.FACT:
        mine, ours = _stated(own), _stated(shared)
        return mine is not None and mine == ours
    return own.text == shared.text and _content(shared.trigger or "") <= _content(own.trigger or "")


def _least(group: Sequence[Lesson]) -> Origin:
    """A shared lesson speaks with the authority of the least of those that stand for it: a user's, never more."""
    return min(Origin.USER, *(one.entry.origin for one in group))
