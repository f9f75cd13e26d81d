from __future__ import annotations

import asyncio
import threading
from fractions import Fraction

import pytest

from tokenspace.errors import BudgetExceeded, UsageError


def said(grade, function, output="x", **options):
    return grade("function", {"want": "x"}, output, functions={"mine": function}, function="mine", **options)


async def slow_right(case, output):
    await asyncio.sleep(0)
    return output == case.grader.expected["want"]


class Callable:
    async def __call__(self, case, output):
        return 0.25


@pytest.mark.parametrize(
    ("function", "score"),
    [
        (lambda case, output: output == case.grader.expected["want"], 1),
        (lambda case, output: output != case.grader.expected["want"], 0),
        (slow_right, 1),
        (Callable(), 0.25),
        (lambda case, output: 0.4, 0.4),
        (lambda case, output: Fraction(1, 4), 0.25),
        (lambda case, output: 1, 1),
        (lambda case, output: None, None),
        (lambda case, output: 1.01, None),
        (lambda case, output: -1, None),
        (lambda case, output: float("nan"), None),
        (lambda case, output: float("inf"), None),
        (lambda case, output: 10**400, None),
        (lambda case, output: "1", None),
        (lambda case, output: 1 / 0, None),
        (lambda case, output: next(iter(())), None),
        (lambda: 1, None),
    ],
)
def test_what_a_function_says_is_a_score_or_a_failed_measurement(grade, function, score):
    assert said(grade, function) == score


def test_a_function_that_takes_too_long_is_a_failed_measurement(grade):
    release = threading.Event()

    async def forever(case, output):
        await asyncio.Event().wait()

    assert said(grade, lambda case, output: release.wait(20), timeout_s=0.05) is None
    assert said(grade, forever, timeout_s=0.05) is None
    release.set()


def test_only_a_spent_budget_passes_through(grade):
    def spend(case, output):
        raise BudgetExceeded(spent=1, asked=1, limit=1, unit="calls")

    async def spend_async(case, output):
        spend(case, output)

    for function in (spend, spend_async):
        with pytest.raises(BudgetExceeded):
            said(grade, function)


def test_an_unregistered_function_is_refused_with_those_that_are(grade):
    with pytest.raises(UsageError) as refused:
        grade("function", None, "x", functions={"polite": len}, function="plite")
    assert "polite" in refused.value.hint
    with pytest.raises(UsageError):
        grade("function", None, "x")
