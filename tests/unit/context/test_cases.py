"""Cases from feedback: what is expected, how it is graded, and what makes no case."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tokenspace.context import case_from, cluster_of
from tokenspace.domain import Episode, Feedback, GraderSpec, Heads, Message, Request, Run, Scope, Signal
from tokenspace.errors import BadData, UsageError

SCOPE = Scope(agent="desk")
AT = datetime(2030, 1, 1, tzinfo=UTC)


def request(text: str = "Where is my card?", **more) -> Request:
    return Request(messages=(Message(role="user", text=text),), **more)


def episode(output: str = "cards", **more) -> Episode:
    return Episode(id="e", scope=SCOPE, heads=Heads(), request=request(**more), run=Run(output=output), at=AT)


def feedback(signal: Signal, value, **more) -> Feedback:
    return Feedback(id="f", scope=SCOPE, episode="e", principal="alice", signal=signal, value=value, at=AT, **more)


@pytest.mark.parametrize("signal", [Signal.CORRECTION, Signal.EDIT, Signal.DEMONSTRATION])
def test_a_correction_expects_its_value(signal) -> None:
    case = case_from(feedback(signal, "transfers"), episode())
    assert case is not None
    assert case.grader == GraderSpec(name="exact", expected="transfers", options={"ignore_case": True})
    assert (case.sources, case.principal, case.at, case.scope) == (("f", "e"), "alice", AT, SCOPE)
    assert case.request == episode().request


@pytest.mark.parametrize(("signal", "value"), [(Signal.LABEL, True), (Signal.SCORE, 1.0), (Signal.SCORE, 1)])
def test_an_approval_expects_the_output_that_was_given(signal, value) -> None:
    case = case_from(feedback(signal, value), episode("cards\n"))
    assert case is not None
    assert case.grader.expected == "cards"


@pytest.mark.parametrize(
    ("signal", "value"),
    [(Signal.LABEL, False), (Signal.SCORE, 0.9), (Signal.TEXT, "ask first"), (Signal.TEST_LOG, "1 failed")],
)
def test_what_does_not_say_what_is_right_makes_no_case(signal, value) -> None:
    assert case_from(feedback(signal, value), episode()) is None


def test_an_approved_answer_that_cannot_come_again_makes_no_case() -> None:
    liked = feedback(Signal.LABEL, True)
    assert case_from(liked, episode("  ")) is None
    assert case_from(liked, episode("Cards!", choices=("cards",))) is None
    assert case_from(liked, episode("not json", schema={"type": "object"})) is None


def test_the_same_feedback_makes_the_same_case() -> None:
    said = feedback(Signal.CORRECTION, "cards")
    assert case_from(said, episode()) == case_from(said, episode())


@pytest.mark.parametrize(
    ("value", "grader"),
    [
        ("42", GraderSpec(name="number", expected=42)),
        (12.5, GraderSpec(name="number", expected=12.5)),
        ("-1e3", GraderSpec(name="number", expected=-1000.0)),
        ("007", GraderSpec(name="exact", expected="007", options={"ignore_case": True})),
        ("true", GraderSpec(name="exact", expected="true", options={"ignore_case": True})),
        ('{"a": [1]}', GraderSpec(name="json", expected={"a": [1]})),
        ("[]", GraderSpec(name="json", expected=[])),
        ('{"a": NaN}', GraderSpec(name="exact", expected='{"a": NaN}', options={"ignore_case": True})),
    ],
)
def test_the_grader_follows_the_form_of_the_expected_answer(value, grader) -> None:
    case = case_from(feedback(Signal.CORRECTION, value), episode())
    assert case is not None
    assert case.grader == grader


@pytest.mark.parametrize("text", ["x" * 81, "two\nlines"])
def test_longer_answers_are_judged_by_what_they_say(text) -> None:
    case = case_from(feedback(Signal.CORRECTION, text), episode())
    assert case is not None
    assert (case.grader.name, case.grader.expected, set(case.grader.options)) == ("rubric", text, {"criterion"})


def test_a_schema_is_graded_as_json() -> None:
    case = case_from(feedback(Signal.CORRECTION, '"red"'), episode(schema={"type": "string"}))
    assert case is not None
    assert case.grader == GraderSpec(name="json", expected="red")


def test_choices_are_graded_exactly_and_a_value_outside_of_them_is_refused() -> None:
    asked = episode(choices=("cards", "loans"))
    case = case_from(feedback(Signal.CORRECTION, " loans "), asked)
    assert case is not None
    assert case.grader == GraderSpec(name="exact", expected="loans")
    with pytest.raises(BadData, match="lones") as caught:
        case_from(feedback(Signal.CORRECTION, "lones"), asked)
    assert "cards, loans" in caught.value.hint


def test_a_grader_that_is_given_is_used_whatever_the_signal() -> None:
    spec = GraderSpec(name="contains", expected="order number")
    for signal, value in [(Signal.CORRECTION, "transfers"), (Signal.LABEL, False), (Signal.TEXT, "ask for it")]:
        case = case_from(feedback(signal, value, expects=spec), episode())
        assert case is not None
        assert case.grader == spec


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        (Signal.CORRECTION, " "),
        (Signal.CORRECTION, "a\0b"),
        (Signal.CORRECTION, "\ud800"),
        (Signal.EDIT, "x" * 1_000_001),
        (Signal.LABEL, "yes"),
        (Signal.LABEL, 0.5),
        (Signal.SCORE, "good"),
        (Signal.SCORE, 7),
        (Signal.SCORE, float("nan")),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_a_hint(signal, value) -> None:
    with pytest.raises(BadData) as caught:
        case_from(feedback(signal, value), episode())
    assert caught.value.hint


def test_a_schema_wants_json_from_a_correction() -> None:
    with pytest.raises(BadData, match="not JSON"):
        case_from(feedback(Signal.CORRECTION, "red"), episode(schema={"type": "string"}))


def test_feedback_about_another_episode_is_refused() -> None:
    other = Episode(id="x", scope=SCOPE, heads=Heads(), request=request(), run=Run(output=""), at=AT)
    with pytest.raises(UsageError):
        case_from(feedback(Signal.CORRECTION, "cards"), other)


def test_near_copies_share_a_cluster_and_digits_tell_apart() -> None:
    assert cluster_of(request("Where is  my CARD?\n")) == cluster_of(request("where is my card?"))
    assert cluster_of(request("order 17")) != cluster_of(request("order 18"))


def test_requests_without_a_user_message_are_clustered_by_all_that_they_hold() -> None:
    one, other = (Request(messages=(Message(role="system", text=text),)) for text in ("a", "b"))
    assert cluster_of(one) != cluster_of(other)
