"""A change of names is told from carelessness, and from messages about new things."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.unit.proposers.cluster import episode, evidence, said

from tokenspace.context.neighbours import Voting
from tokenspace.context.renamed import LOOKED_AT, Told, lessons, outdated, renamings
from tokenspace.domain import Entry, Kind, Origin, Ranked

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


def test_a_lesson_is_what_a_teacher_says_from_the_fixed_set_and_no_agent_in_a_teachers_name() -> None:
    one, two, free, four = (episode(f"refund {n}", "Basalt", number=n) for n in range(4))
    one, two, four = (replace(it, request=replace(it.request, choices=("Basalt", "Otter"))) for it in (one, two, four))
    heard = evidence(
        (one, said(one, "Otter", principal="ana")),
        (two, said(two, "Otter", principal="ana", source=Origin.AGENT)),
        (free, said(free, "Otter", principal="ana")),
        (four, said(four, "Otter", principal="mallory")),
    )
    (lesson,) = lessons(heard, VOTING)
    assert (lesson.entry.trigger, lesson.entry.text, lesson.by) == ("refund 0", "Otter", "ana")


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


def test_a_name_that_is_mostly_said_of_other_things_is_that_of_a_new_thing() -> None:
    known = [(f"{kind} {kind}s", kind, TEACHERS[at % 3]) for at in range(24) for kind in ("tea", "car", "pen")]
    buses = [("bus stop", "chai", TEACHERS[at % 3]) for at in range(4)]
    same = [("tea teas", "chai", TEACHERS[at % 3]) for at in range(3)]
    assert renamings(told([*known, *same]), [], nearest, VOTING)
    assert renamings(told([*known, *same[:1], *buses, *same[1:]]), [], nearest, VOTING) == []


def test_what_is_spoken_of_in_words_of_its_own_is_a_new_thing_however_near() -> None:
    """A twin of a known thing, at whose coming the known one is not heard of any more."""
    twins = [("tea teas iced", "cold tea", TEACHERS[at % 3]) for at in range(6)]
    assert renamings(told([*usual(), *twins]), [], nearest, VOTING) == []
    mixed = [("tea teas iced" if at % 3 else "tea teas", "cold tea", TEACHERS[at % 3]) for at in range(30)]
    spoken = [(f"{about} iced" if at % 3 else about, text, by) for at, (about, text, by) in enumerate(usual())]
    (change,) = renamings(told([*spoken, *mixed]), [], nearest, VOTING)
    assert (change.old, change.new) == ("tea", "cold tea")


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


def test_a_long_life_makes_a_look_no_dearer() -> None:
    lessons, seen = told([*usual(900), *[("tea teas", "chai", TEACHERS[at % 3]) for at in range(3)]]), set[str]()

    def watched(entry: Entry, known: Sequence[Entry]) -> list[Ranked]:
        seen.update(one.id for one in known)
        return nearest(entry, known)

    assert renamings(lessons, [], watched, VOTING)
    assert len(seen) <= LOOKED_AT < len(lessons)


# ── a change that is about ──────────────────────────────────────────────────────────────────


def settled(n: int = 24) -> list[tuple[str, str, str]]:
    """Three kinds, by their own names; then two of them exchange theirs, said three times each."""
    before = [(f"{kind} {kind}s", kind, TEACHERS[at % 3]) for at in range(n) for kind in ("tea", "car", "pen")]
    after = [(f"{old} {old}s", new, TEACHERS[at]) for at in range(3) for old, new in (("tea", "car"), ("car", "tea"))]
    return [*before, *after]


def of_pen(*said: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [("pen pens", text, by) for text, by in said]


def third(lessons: Sequence[tuple[str, str, str]]) -> set[str]:
    """What a third kind is called now, if that is found."""
    return {one.new for one in renamings(told(lessons), [], nearest, VOTING) if one.said == "pen"}


def test_where_two_kinds_have_changed_two_teachers_rename_a_third() -> None:
    two = of_pen(("ink", "ana"), ("ink", "bilal"))
    assert third([*settled(), *two]) == {"ink"}
    (change,) = (one for one in renamings(told([*settled(), *two]), [], nearest, VOTING) if one.said == "pen")
    assert [one.by for one in change.told] == ["ana", "bilal"]


def test_where_nothing_or_one_kind_has_changed_two_lessons_rename_nothing() -> None:
    two, all_ = of_pen(("ink", "ana"), ("ink", "bilal")), settled()
    assert third([*all_[:-6], *two]) == set()
    assert third([*all_[:-6], *(one for one in all_[-6:] if one[0] == "tea teas"), *two]) == set()


def test_one_teacher_renames_no_third_kind_whatever_has_changed() -> None:
    assert third([*settled(), *of_pen(("ink", "ana"), ("ink", "ana"), ("ink", "ana"), ("ink", "ana"))]) == set()


def test_a_third_kind_keeps_its_name_while_two_teachers_say_it() -> None:
    mixed = of_pen(("ink", "ana"), ("ink", "bilal"), ("pen", "chen"), ("ink", "ana"), ("pen", "bilal"))
    assert third([*settled(), *mixed]) == set()


def test_one_careless_lesson_does_not_keep_the_old_name_up() -> None:
    assert third([*settled(), *of_pen(("ink", "ana"), ("pen", "chen"), ("ink", "bilal"))]) == {"ink"}


def test_what_was_said_before_the_change_does_not_count_as_a_part_of_it() -> None:
    all_ = settled()
    assert third([*all_[:-6], *of_pen(("ink", "ana"), ("ink", "bilal")), *all_[-6:]]) == set()


def test_a_change_that_is_long_over_makes_nothing_easier() -> None:
    swapped = (("tea", "car"), ("car", "tea"))
    later = [(f"{kind} {kind}s", name, TEACHERS[at % 3]) for at in range(60) for kind, name in swapped]
    lessons = told([*settled(), *later, *of_pen(("ink", "ana"), ("ink", "bilal"))])
    since = {"tea": lessons[72].at, "car": lessons[73].at}
    done = [
        Entry(id=one.entry.id, kind=Kind.EXAMPLE, doc="", trigger=one.entry.trigger, text=new, valid_from=since[old])
        for one in lessons[:72] for old, new in swapped if one.entry.text == old
    ]  # fmt: skip
    assert [one for one in renamings(lessons, done, nearest, VOTING) if one.said == "pen"] == []


def test_new_things_are_no_part_of_a_change_unless_they_have_a_name_that_was_known() -> None:
    def new_thing(name: str) -> list[tuple[str, str, str]]:
        return [("pen x", name, "ana"), ("pen x", name, "bilal")]

    assert third([*settled(), *new_thing("ink")]) == set()
    assert third([*settled(), *new_thing("tea")]) == {"tea"}
