"""A change of names is told from carelessness, and from messages about new things."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tokenspace.context.neighbours import Voting
from tokenspace.context.renamed import Told, outdated, renamings
from tokenspace.domain import Entry, Kind, Ranked

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TEACHERS = ("ana", "bilal", "chen")
VOTING = Voting(neighbours=7, outvoted=2.0, teachers=frozenset(TEACHERS))


def nearest(entry: Entry, known: Sequence[Entry]) -> list[Ranked]:
    """Alike by the words that they share."""
    words = set((entry.trigger or "").split())
    scores = [(len(words & set((one.trigger or "").split())) / 4, one.id) for one in known]
    return [Ranked(id=id, score=score) for score, id in sorted(scores, key=lambda one: (-one[0], one[1]))]


def told(said: Sequence[tuple[str, str, str]]) -> list[Told]:
    """Lessons (about, answer, by), a second apart."""
    return [
        Told(
            entry=Entry(id=f"{at:04d}", kind=Kind.EXAMPLE, doc="", trigger=f"{about} a b n{at}", text=text),
            by=by,
            at=BEGAN + timedelta(seconds=at),
            feedback=f"f{at}",
            episode=f"e{at}",
        )
        for at, (about, text, by) in enumerate(said)
    ]


def usual(n: int = 30) -> list[tuple[str, str, str]]:
    return [(f"{kind} {kind}s", kind, TEACHERS[at % 3]) for at in range(n) for kind in ("tea", "car")]


def test_nothing_has_changed_while_everybody_says_what_they_said() -> None:
    assert renamings(told(usual(60)), [], nearest, VOTING) == []


def test_a_new_name_that_several_teachers_give_and_nobody_else_contradicts_is_seen() -> None:
    lessons = told([*usual(), *[("tea teas", "chai", TEACHERS[at % 3]) for at in range(3)]])
    (change,) = renamings(lessons, [], nearest, VOTING)
    assert (change.said, change.old, change.new, len(change.told)) == ("tea", "tea", "chai", 3)
    assert change.since == lessons[60].at


def test_one_teacher_alone_renames_nothing_where_several_teach() -> None:
    assert renamings(told([*usual(), *[("tea teas", "chai", "chen")] * 9]), [], nearest, VOTING) == []


def test_a_trusted_or_an_only_teacher_does() -> None:
    lessons = told([(about, text, "ana") for about, text, _ in usual()] + [("tea teas", "chai", "ana")] * 3)
    assert renamings(lessons, [], nearest, VOTING)
    trusted = Voting(neighbours=7, outvoted=2.0, teachers=VOTING.teachers, trusted=frozenset({"ana"}))
    assert renamings(told([*usual(), *[("tea teas", "chai", "ana")] * 3]), [], nearest, trusted)


def test_careless_lessons_among_right_ones_rename_nothing() -> None:
    mixed = [("tea teas", "chai", "ana"), ("tea teas", "tea", "chen"), ("tea teas", "chai", "bilal")] * 5
    assert renamings(told([*usual(), *mixed]), [], nearest, VOTING) == []


def test_messages_about_new_things_rename_nothing() -> None:
    new = [("bus x", "bus", TEACHERS[at % 3]) for at in range(12)]
    assert renamings(told([*usual(), *new]), [], nearest, VOTING) == []


def test_names_may_be_exchanged() -> None:
    swapped = [
        (f"{old} {old}s", new, TEACHERS[at % 3]) for at in range(4) for old, new in (("tea", "car"), ("car", "tea"))
    ]
    lessons = told([*usual(), *swapped])
    own = [one.entry for one in lessons[:60]]
    changes = renamings(lessons, own, nearest, VOTING)
    assert {(change.old, change.new) for change in changes} == {("tea", "car"), ("car", "tea")}
    for change in changes:
        assert {(one.trigger or "").split()[0] for one in outdated(change, lessons, own)} == {change.said}


def test_what_was_renamed_is_not_renamed_back_or_again() -> None:
    lessons = told([*usual(), *[("tea teas", "chai", TEACHERS[at % 3]) for at in range(12)]])
    (change,) = renamings(lessons, [], nearest, VOTING)
    done = [
        Entry(id=one.entry.id, kind=Kind.EXAMPLE, doc="", trigger=one.entry.trigger, text="chai", valid_from=change.since)
        for one in lessons[:60] if one.entry.text == "tea"
    ]  # fmt: skip
    assert [one for one in renamings(lessons, done, nearest, VOTING) if outdated(one, lessons, done)] == []
