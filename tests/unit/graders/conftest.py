from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import Case, GraderSpec, Message, Request, Scope
from tokenspace.graders import build


def _case(spec: GraderSpec, asked: str = "What is it?") -> Case:
    return Case(
        scope=Scope(agent="desk"),
        request=Request(messages=(Message(role="system", text="Be brief."), Message(role="user", text=asked))),
        grader=spec,
        cluster="c",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def make_case():
    """Makes a case with a grader's specification."""
    return _case


@pytest.fixture
def grade():
    """Grades one output by name, expected value and options: the score, or None."""

    def run(name, expected, output, *, model=None, functions=None, budget=None, asked="What is it?", **options):
        spec = GraderSpec(name=name, expected=expected, options=options)
        grader = build(spec, model=model, functions=functions or {})
        return asyncio.run(grader.grade(_case(spec, asked), output, budget=budget or Budget()))

    return run
