from __future__ import annotations

import asyncio
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import tokenspace.graders
from tokenspace.budget import Budget
from tokenspace.domain import GraderSpec
from tokenspace.errors import UsageError
from tokenspace.graders import GRADERS, build

MODULES = [f"tokenspace.graders.{info.name}" for info in pkgutil.iter_modules(tokenspace.graders.__path__)]
RIGHT = {
    "contains": "a", "exact": "a", "json": {"a": 1}, "number": 1, "pattern": "a", "schema": {"type": "object"},
}  # fmt: skip


def test_an_unknown_grader_is_refused_with_those_that_exist():
    with pytest.raises(UsageError) as refused:
        build(GraderSpec(name="exactly"))
    assert all(name in refused.value.hint for name in GRADERS)


def test_an_unknown_option_is_refused_with_those_that_exist():
    with pytest.raises(UsageError) as refused:
        build(GraderSpec(name="exact", expected="a", options={"casefold": True}))
    assert "ignore_case" in refused.value.hint


def test_every_grader_has_a_name_that_builds():
    assert set(RIGHT) | {"function", "rubric"} == set(GRADERS)
    for name, expected in RIGHT.items():
        grader = build(GraderSpec(name=name, expected=expected))
        parameters = inspect.signature(grader.grade).parameters
        assert list(parameters) == ["case", "output", "budget"]
        assert parameters["budget"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    "output", ["", "\0", "a" * 100_000, "{" * 20_000, "\ud800", "💥" * 999, '{"a":' * 5_000, "9" * 9_999]
)
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_any_output_gets_a_score_or_none_and_costs_nothing(make_case, name, output):
    spec, budget = GraderSpec(name=name, expected=RIGHT[name]), Budget(calls=0)
    score = asyncio.run(build(spec).grade(make_case(spec), output, budget=budget))
    assert score is None or 0 <= score <= 1


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_all_is_complete_and_sorted():
    public = tokenspace.graders.__all__
    assert len(public) == len(set(public))
    for name in public:
        assert hasattr(tokenspace.graders, name)


def test_importing_the_graders_loads_no_heavy_library():
    code = "import sys, tokenspace.graders; sys.exit('jsonschema' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
