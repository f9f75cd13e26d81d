"""The agent that counts what a stream costs."""

from __future__ import annotations

import asyncio

from tokenspace.agents import ChatAgent, FunctionAgent
from tokenspace.budget import Budget
from tokenspace.domain import Message, Profile, Prompt, Run, ToolCall
from tokenspace.models import ScriptedModel
from tokenspace.streams.desk import CountingAgent

PROMPT = Prompt(system="", messages=(Message(role="user", text="hi"),))


def ask(agent, verb="run"):
    more = {"recorded": ()} if verb == "replay" else {}
    return asyncio.run(getattr(agent, verb)(PROMPT, budget=Budget(), **more))


def test_a_run_and_its_replays_are_asked_and_counted_once():
    for verbs in (("run", "replay", "replay", "run"), ("replay", "run")):
        model = ScriptedModel("yes")
        agent = CountingAgent(ChatAgent(model))
        assert [ask(agent, verb).output for verb in verbs] == ["yes"] * len(verbs)
        assert (len(model.prompts), agent.usage.calls) == (1, 1)


def test_a_run_with_tool_calls_is_no_replay():
    call = ToolCall(id="1", name="look", arguments="{}", result="seven")
    profile = Profile(model="m", deterministic=True)
    agent = CountingAgent(FunctionAgent(lambda prompt: Run(output="x", tool_calls=(call,)), profile, replay=False))
    assert ask(agent).output == "x"
    assert ask(agent, "replay") is None
    assert agent.usage.calls == 1
