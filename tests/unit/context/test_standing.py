"""When nothing more is taken on a teacher's word."""

from __future__ import annotations

from datetime import UTC, datetime

from tokenspace.context import Voting, discredited
from tokenspace.context.neighbours import lesson_of
from tokenspace.domain import Attempt, Context, Drop, Edit, Entry, Heads, Kind, Layer, Put, Scope, Verdict

SCOPE = Scope(agent="desk")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def lesson(number: int) -> Entry:
    return Entry(id=f"e{number}", kind=Kind.EXAMPLE, doc="examples", trigger=f"message {number}", text="cards")


def attempt(op: Put | Drop, decision: str, *, tier: int = 1, proposer: str = "remember@1") -> Attempt:
    return Attempt(
        scope=SCOPE, key="k", proposer=proposer, heads=Heads(), edit=Edit(ops=(op,)),
        verdict=Verdict(decision=decision, tier=tier), at=AT,
    )  # fmt: skip


def judged(contradicted: int, served: int, *, tier: int = 1, **more: frozenset[str]) -> dict[str, str]:
    """Who is discredited after so many lessons of mallory, beside three colleagues with one each."""
    mine = [lesson(number) for number in range(contradicted + served)]
    others = {("other", name): frozenset({name}) for name in ("ana", "bo", "chen")}
    said_by = {**{lesson_of(one): frozenset({"mallory"}) for one in mine}, **others}
    voting = Voting(neighbours=7, outvoted=2.0, said_by=said_by, **more)
    attempts = [attempt(Put(entry=one), "defer", tier=tier) for one in mine]
    return dict(discredited(attempts, context(mine[contradicted:]), voting))


def context(entries: list[Entry]) -> Context:
    return Context(scope=SCOPE, heads=Heads(), layers=(Layer(own={one.id: one for one in entries}),))


def test_a_teacher_most_of_whose_lessons_were_contradicted_is_discredited() -> None:
    assert judged(5, 3) == {"mallory": "5 of the 8 lessons of mallory were contradicted"}
    assert judged(4, 4) == {}


def test_few_lessons_discredit_nobody() -> None:
    assert judged(7, 0) == {}


def test_lessons_from_before_one_was_allowed_to_teach_do_not_count() -> None:
    assert judged(20, 0, tier=4) == {}


def test_an_operator_is_beyond_doubt_and_who_may_not_teach_is_no_question() -> None:
    assert judged(20, 0, trusted=frozenset({"mallory"})) == {}
    assert judged(20, 0, teachers=frozenset({"ana", "bo", "chen"})) == {}


def test_what_was_retired_counts_and_what_a_person_dropped_does_not() -> None:
    mine = [lesson(number) for number in range(8)]
    said_by = {lesson_of(one): frozenset({"mallory"}) for one in mine}
    said_by |= {("other", name): frozenset({name}) for name in ("ana", "bo", "chen")}
    voting = Voting(neighbours=7, outvoted=2.0, said_by=said_by)
    put = [attempt(Put(entry=one), "accept") for one in mine]
    for proposer, found in (("retire@2", {"mallory"}), ("person", set[str]())):
        drops = [attempt(Drop(id=one.id), "accept", proposer=proposer) for one in mine]
        assert discredited([*put, *drops], context([]), voting).keys() == found
