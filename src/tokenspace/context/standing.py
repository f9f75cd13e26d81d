"""Has a teacher been contradicted so often that nothing more is taken on their word? Free of model calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tokenspace.context.neighbours import TEACHING_TIER, Lesson, Voting, lesson_of
from tokenspace.domain import Attempt, Context, Drop, Entry, Kind, Put

MIN_TAUGHT: Final = 8
"""Nobody is doubted before so many lessons: of a teacher who errs in one lesson of ten, 5 of 8 are contradicted once
in 2,300 times."""


def discredited(attempts: Iterable[Attempt], context: Context, voting: Voting) -> Mapping[str, str]:
    """The teachers more than half of whose lessons were contradicted and are not served, each with that in words.

    Only where one teacher can be told apart from the others. A lesson counts as contradicted if it was held back or
    rejected while its teacher was allowed to teach, or retired; it counts for nobody if several taught it. What a
    person lets in is served, and speaks for its teacher again.
    """
    if not voting.several(frozenset[str]().union(*map(voting.voices, voting.said_by))):
        return {}
    served = {lesson_of(one) for one in context.entries if one.kind is Kind.EXAMPLE}
    counts: dict[str, list[bool]] = {}
    against = _contradicted(attempts) - served
    for lesson in voting.said_by:
        authors = voting.voices(lesson)
        if len(authors) == 1 and voting.may_be_doubted(authors):
            (author,) = authors
            counts.setdefault(author, []).append(lesson in against)
    return {
        name: f"{sum(found)} of the {len(found)} lessons of {name} were contradicted"
        for name, found in counts.items()
        if len(found) >= MIN_TAUGHT and 2 * sum(found) > len(found)
    }


def _contradicted(attempts: Iterable[Attempt]) -> set[Lesson]:
    put: dict[str, Entry] = {}
    found, retired = set[Lesson](), set[str]()
    for attempt in attempts:
        accepted = attempt.verdict.decision == "accept"
        for op in attempt.edit.ops if attempt.edit else ():
            match op:
                case Put(entry=entry) if entry.kind is Kind.EXAMPLE:
                    put[entry.id] = entry
                    if not accepted and attempt.verdict.tier <= TEACHING_TIER:
                        found.add(lesson_of(entry))
                case Drop(id=id) if accepted and attempt.proposer.startswith("retire@"):
                    retired.add(id)
                case _:
                    pass
    return found | {lesson_of(put[id]) for id in retired if id in put}
