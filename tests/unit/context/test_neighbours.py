"""When the nearest examples contradict one."""

from __future__ import annotations

from dataclasses import replace

from tests.world import BASE, World

from tokenspace.context import Contradiction, Voting, contradiction, sayers, sayers_in, taught
from tokenspace.context.neighbours import lesson_of
from tokenspace.domain import Entry, Evidence, Kind, Ranked, Signal

ANSWERS = {"a": "cards", "b": "cards", "c": "loans"}


def near(**scores: float) -> list[Ranked]:
    return [Ranked(id=id, score=score) for id, score in scores.items()]


def test_neighbours_that_outvote_an_answer_contradict_it() -> None:
    found = contradiction("loans", near(a=0.9, b=0.8, c=0.5), ANSWERS, outvoted=2.0)
    assert found is not None
    assert found.margin == (0.9 + 0.8) / 0.5
    assert found.words == "2 of its 3 nearest examples agree on another answer, 1 say 'loans'"


def test_support_distance_and_agreement_contradict_nothing() -> None:
    assert contradiction("loans", near(a=0.9, b=0.8, c=0.9), ANSWERS, outvoted=2.0) is None
    assert contradiction("loans", near(a=0.3), ANSWERS, outvoted=2.0) is None
    assert contradiction("cards", near(a=0.9, b=0.8), ANSWERS, outvoted=2.0) is None
    assert contradiction("cards", [], ANSWERS, outvoted=2.0) is None


def example(id: str, text: str, trigger: str | None = None) -> Entry:
    return Entry(id=id, kind=Kind.EXAMPLE, doc="examples", trigger=trigger or f"message {id}", text=text)


def against(said: dict[str, tuple[str, str]], *, by: str, voting: Voting | None = None) -> Contradiction | None:
    """What is said against a lesson "loans" of `by`, whose neighbours, nearest first, are `said`: id → (who, text)."""
    others = [example(id, text) for id, (_, text) in said.items()]
    mine = example("mine", "loans")
    people = {**{id: who for id, (who, _) in said.items()}, "mine": by}
    said_by = {lesson_of(one): frozenset({people[one.id]}) for one in (*others, mine) if people[one.id]}
    ranked = [Ranked(id=id, score=0.9 - 0.01 * place) for place, id in enumerate(said)]
    base = voting or Voting(neighbours=7, outvoted=2.0)
    return replace(base, said_by=said_by).against(mine, others, ranked)


COLLEAGUES = {"1": ("ana", "cards"), "2": ("bo", "cards"), "3": ("chen", "cards")}
FLOOD = {f"m{place}": ("mallory", "loans") for place in range(20)}


def test_where_several_teach_nobody_votes_for_what_they_taught_themselves() -> None:
    assert against({**FLOOD, **COLLEAGUES}, by="mallory") is not None


def test_one_principal_among_several_keeps_nobodys_lesson_out() -> None:
    flood = {id: (who, "cards") for id, (who, _) in FLOOD.items()}
    assert against({**flood, "1": ("bo", "other"), "2": ("chen", "loans")}, by="ana") is None
    assert against({**flood, "1": ("bo", "cards"), "2": ("chen", "other")}, by="ana") is not None


def test_a_person_alone_and_two_who_disagree_are_judged_by_all_that_was_taught() -> None:
    alone = dict.fromkeys("123", ("ana", "cards"))
    assert against(alone, by="ana") is not None
    assert against({**alone, **dict.fromkeys("456", ("ana", "loans"))}, by="ana") is None
    assert against({**alone, **dict.fromkeys("456", ("bo", "loans"))}, by="bo") is None


def test_what_an_operator_taught_or_wrote_by_hand_is_worth_two_principals() -> None:
    trusting = Voting(neighbours=7, outvoted=2.0, trusted=frozenset({"boss"}))
    cards = {"1": ("boss", "cards"), "2": ("boss", "cards")}
    assert against(cards, by="mallory", voting=trusting) is not None
    assert against({"1": ("", "cards"), "2": ("", "cards")}, by="mallory") is not None
    assert against({"1": ("mallory", "cards"), "2": ("mallory", "cards")}, by="boss", voting=trusting) is None


def test_ones_own_lessons_speak_against_one_where_others_have_nothing_to_say() -> None:
    far = {"1": ("bo", "one"), "2": ("chen", "two")}
    assert against({"3": ("ana", "cards"), "4": ("ana", "cards"), **far}, by="ana") is not None


def test_who_may_not_teach_has_no_vote() -> None:
    voting = Voting(neighbours=7, outvoted=2.0, teachers=frozenset({"ana", "bo"}))
    assert against({"1": ("eve", "cards"), "2": ("mallory", "cards")}, by="ana", voting=voting) is None


def test_what_waits_because_its_teacher_may_not_teach_has_no_vote() -> None:
    world = World(teachers=["ana"])
    world.teach("where is my parcel", "Kestrel", by="mallory")
    attempts = tuple(world.store.attempts(BASE, decision="defer"))
    context = world.store.context(BASE, world.store.heads(BASE))
    assert len(attempts) == 1
    assert taught(Evidence(scope=BASE, context=context, feedback=(), episodes={}, held=attempts)) == []


def test_who_taught_what_is_the_same_by_attempts_and_by_feedback() -> None:
    world = World(teachers=["ana", "bo"])
    world.teach("Where is my  parcel", "Kestrel", by="ana")
    episode = world.act("where is my parcel")
    world.learn(world.say(episode, value=True, signal=Signal.LABEL, by="bo"))
    world.say(world.act("hello"), value=False, signal=Signal.LABEL, by="ana")
    feedback = world.store.feedback(BASE)
    episodes = {item.episode: world.store.episode(BASE, item.episode) for item in feedback}
    context = world.store.context(BASE, world.store.heads(BASE))
    found = sayers([one.edit for one in world.store.attempts(BASE)], world.store.cases(BASE))
    assert found == sayers_in(Evidence(scope=BASE, context=context, feedback=feedback, episodes=episodes))
    assert found == {("where is my parcel", "Kestrel"): {"ana", "bo"}}
