"""The tool that opens skills: answered by the prompt, in a replay as in a run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tokenspace.agents import ToolLoopAgent
from tokenspace.agents.read_skill import PAGE_CHARS, read_skill
from tokenspace.budget import Budget
from tokenspace.context import compile_context
from tokenspace.context.skills import READ_SKILL
from tokenspace.domain import Context, Entry, Heads, Kind, Layer, Message, Origin, Request, Run, Scope, ToolCall
from tokenspace.models import ScriptedModel
from tokenspace.testing.samples import NOW

OPENABLE = (("a", "do a"), ("a/limits.md", "100"), ("b", "x" * (PAGE_CHARS + 10)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "a"}, "do a\n\n[further files of this skill: limits.md]"),
        ({"name": "a", "file": "limits.md"}, "100"),
        ({"name": "a", "file": "", "offset": 1}, "o a\n\n[further files of this skill: limits.md]"),
        ({"name": "b", "offset": PAGE_CHARS}, "x" * 10),
        ({"name": "c"}, "error: there is no skill 'c'; there are: a, b"),
        ({"name": "a/limits.md"}, "error: there is no skill 'a/limits.md'; there are: a, b"),
        ({"name": "a", "file": "../b"}, "error: the skill a has no such file; it has: limits.md"),
        ({"name": "b", "file": "x"}, "error: the skill b has no such file; it has: none"),
        ({"name": "a", "file": ["x"]}, "error: the skill a has no such file; it has: limits.md"),
        ({"name": "a", "offset": 99}, "error: a has 4 characters; give an offset below that"),
        ({"name": "a", "offset": -1}, "error: a has 4 characters; give an offset below that"),
        ({"name": "a", "offset": "1"}, "error: a has 4 characters; give an offset below that"),
        ({"name": 7}, "error: give the name of a skill: a, b"),
        ({}, "error: give the name of a skill: a, b"),
        (None, "error: give the name of a skill: a, b"),
    ],
)
def test_it_answers_with_a_text_or_with_what_to_do(arguments: dict[str, Any] | None, says: str) -> None:
    assert read_skill(OPENABLE, arguments) == says


def test_a_long_text_comes_in_pages() -> None:
    assert read_skill(OPENABLE, {"name": "b"}).endswith(f"[10 more characters: go on with offset {PAGE_CHARS}]")


def call(tool: str, /, **arguments: Any) -> Run:
    return Run(output="", tool_calls=(ToolCall(id="1", name=tool, arguments=json.dumps(arguments)),))


def prompt(agent: ToolLoopAgent):
    skill = Entry(
        id="s", kind=Kind.SKILL, doc="skills/refunds", text="Pay back.", trigger="For refunds.", origin=Origin.USER
    )
    context = Context(scope=Scope(agent="desk"), heads=Heads(), layers=(Layer(own={"s": skill}),))
    request = Request(messages=(Message(role="user", text="refund me"),))
    return compile_context(context, [], request, profile=agent.profile, budget=9_000, now=NOW)


def test_a_tool_loop_opens_a_skill_by_its_name_in_a_run_and_in_a_replay() -> None:
    def agent(**more: Any) -> ToolLoopAgent:
        return ToolLoopAgent(ScriptedModel([call(READ_SKILL, name="refunds"), "done"]), {}, **more)

    made = prompt(agent(reads_skills=True))
    done = asyncio.run(agent(reads_skills=True).run(made, budget=Budget()))
    assert [one.result for one in done.tool_calls] == ["Pay back."]
    again = asyncio.run(agent(reads_skills=True).replay(made, recorded=(), budget=Budget()))
    assert again is not None
    assert (again.output, again.tool_calls) == (done.output, done.tool_calls)
    plain = prompt(agent())
    assert (plain.tools, plain.openable) == ((), ())
    told = asyncio.run(agent().run(plain, budget=Budget()))
    assert told.tool_calls[0].result == "error: there is no tool 'read_skill'"
