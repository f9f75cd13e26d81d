from __future__ import annotations

import asyncio
import sys

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders import build


@pytest.mark.parametrize(
    ("pattern", "output", "options", "score"),
    [
        ("refund", "We refund", {}, 1),
        ("^refund$", "We refund", {}, 0),
        ("REFUND", "We refund", {"ignore_case": True}, 1),
        ("[0-9][0-9]", "in 24 hours", {}, 1),
        (r"\d{2,}", "in 24 hours", {}, 1),
        (r"\bINV-\d+\b", "see INV-2041.", {}, 1),
        (r"(yes|no)", "yes, sir", {"full": True}, 0),
        (r"(yes|no)", "no", {"full": True}, 1),
        ("(?i)refund", "REFUND", {}, 1),
        ("é+", "éé \0 \ud800", {}, 1),
        ("a.c", "a\nc", {}, 0),
    ],
)
def test_pattern(grade, pattern, output, options, score):
    assert grade("pattern", pattern, output, **options) == score


def test_a_pattern_that_never_ends_is_killed_and_is_a_failed_measurement(grade):
    assert grade("pattern", "(a+)+b", "a" * 60, timeout_s=0.5) is None
    assert grade("pattern", "(a|aa)+$", "a" * 99 + "!", timeout_s=0.5) is None


def test_the_loop_stays_free_while_a_pattern_runs(make_case):
    spec = GraderSpec(name="pattern", expected="(a+)+b", options={"timeout_s": 0.5})
    grader, case, ticks = build(spec), make_case(spec), []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def main():
        clock = asyncio.create_task(tick())
        score = await grader.grade(case, "a" * 60, budget=Budget())
        clock.cancel()
        return score

    assert asyncio.run(main()) is None
    assert len(ticks) > 3


def test_no_child_process_is_a_failed_measurement(grade, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert grade("pattern", "a+", "a") is None
    # what cannot backtrack needs no child
    assert grade("pattern", "a", "a") == 1


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "(?P<1>a)", None, 3, "a" * 1001])
def test_what_is_no_pattern_is_refused_when_built(grade, pattern):
    with pytest.raises(UsageError):
        grade("pattern", pattern, "a")
