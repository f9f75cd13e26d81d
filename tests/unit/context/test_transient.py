"""What was learned from a failure that passes gets an end, in code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tokenspace.context import stamp
from tokenspace.context.transient import BELIEF_DAYS, failure_in
from tokenspace.domain import Context, Edit, Entry, Evidence, Heads, Kind, Layer, Patch, Put, Run, Signal, ToolCall
from tokenspace.testing.samples import NOW, USER, a_feedback, an_episode, rule

END = NOW + timedelta(days=BELIEF_DAYS)


def shown(value: str, *, signal: Signal = Signal.TEXT, entry: Entry | None = None, **run) -> Evidence:
    episode = an_episode(id="e", run=Run(output="", **run))
    layers = (Layer(), Layer(), Layer(own={entry.id: entry} if entry else {}))
    context = Context(scope=USER, heads=Heads(), layers=layers)
    said = a_feedback(id="f", signal=signal, value=value)
    return Evidence(scope=USER, context=context, feedback=[said], episodes={"e": episode})


def end_of(entry: Entry, evidence: Evidence):
    (op,) = stamp(Edit(ops=(Put(entry=entry),), evidence=("f", "e")), evidence).ops
    return op.entry.valid_until


@pytest.mark.parametrize(
    "text",
    [
        "The payment service is down.",
        "The request timed out after 30 s",
        "requests.exceptions.ReadTimeout: x",
        "HTTP 503",
        "we hit the rate limit, so do not use the search tool",
        "Search is currently unavailable; never call it.",
        "There is an outage. If it lasts, call us.",
    ],
)
def test_statements_of_a_passing_failure_are_told(text):
    assert failure_in(text)
    assert end_of(rule(text), shown("x")) == END


@pytest.mark.parametrize(
    "text",
    [
        "If the service is down, say so.",
        "When a request timed out, try it once more.",
        "Use a timeout of 30 s.",
        "The rate limit is 100 a minute.",
        "Prices are down 3 %.",
        "The order 503 is late.",
        "Ask for the order number.",
    ],
)
def test_what_to_do_in_case_of_one_is_not_and_neither_are_settings(text):
    assert failure_in(text) == ""
    assert end_of(rule(text), shown("Ask first.")) is None


def test_a_rule_made_from_a_log_or_a_tool_that_failed_ends_too():
    lesson = rule("Do not use the search tool.")
    assert end_of(lesson, shown("E  TimeoutError: search", signal=Signal.TEST_LOG)) == END
    failed = ToolCall(id="1", name="search", arguments="{}", result="503 Service Unavailable")
    assert end_of(lesson, shown("It failed.", tool_calls=(failed,))) == END
    assert end_of(lesson, shown("It failed.", tool_calls=(replace(failed, result="no results"),))) is None


def test_an_example_is_judged_by_its_answer_alone():
    example = Entry(kind=Kind.EXAMPLE, doc="examples", trigger="q", text="Kestrel")
    evidence = shown("connection refused", signal=Signal.TEST_LOG)
    assert end_of(example, evidence) is None
    assert end_of(replace(example, text="Sorry, the service is down."), evidence) == END


def test_no_proposer_can_give_itself_a_longer_end_and_an_earlier_one_stays():
    text = "The service is down."
    assert end_of(rule(text, valid_until=END + timedelta(days=99)), shown("x")) == END
    assert end_of(rule(text, valid_until=NOW), shown("x")) == NOW


def test_a_new_text_of_an_old_entry_gets_an_end_and_stamping_again_changes_nothing():
    old = rule("Use search.")
    evidence = shown("x", entry=old)
    edit = Edit(ops=(Patch(id=old.id, changes={"text": "Search is currently down."}),), evidence=("f",))
    once = stamp(edit, evidence)
    assert once.ops[0].changes["valid_until"] == END
    assert stamp(once, evidence) == once
    moved = Edit(ops=(Patch(id=old.id, changes={"pos": 1}),), evidence=("f",))
    assert stamp(moved, evidence).ops == moved.ops
