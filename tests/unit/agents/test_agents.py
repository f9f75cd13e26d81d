from __future__ import annotations

import asyncio

import pytest

from tokenspace.agents import ChatAgent, FunctionAgent
from tokenspace.budget import Budget
from tokenspace.domain import Message, Profile, Prompt, Run, ToolCall, Usage
from tokenspace.errors import BudgetExceeded, ModelError, Refused
from tokenspace.models import ScriptedModel

PROFILE = Profile(model="mine", usd_per_million_input=1.0, usd_per_million_output=1.0)
PROMPT = Prompt(system="s", messages=(Message(role="user", text="hi"),), tokens=100, max_output_tokens=50)


def act(agent, budget=None, seed=0):
    return asyncio.run(agent.run(PROMPT, budget=budget or Budget(), seed=seed))


def test_chat_agent_is_one_call_of_its_model():
    model, budget = ScriptedModel(lambda prompt, seed: f"{seed}"), Budget(calls=1)
    agent = ChatAgent(model)
    assert act(agent, budget, seed=3).output == "3"
    assert agent.profile is model.profile
    assert budget.usage.calls == 1
    with pytest.raises(BudgetExceeded):
        act(agent, budget)


def test_function_agent_takes_plain_and_async_functions_and_runs():
    async def later(prompt):
        return prompt.messages[-1].text

    class Callable:
        async def __call__(self, prompt):
            return "called"

    assert act(FunctionAgent(lambda prompt: prompt.system, PROFILE)).output == "s"
    assert act(FunctionAgent(later, PROFILE)).output == "hi"
    assert act(FunctionAgent(Callable(), PROFILE)).output == "called"
    usage = Usage(calls=2, input_tokens=7, output_tokens=1, usd=0.5)
    run = act(FunctionAgent(lambda prompt: Run(output="r", usage=usage, model="other", latency_s=9.0), PROFILE))
    assert (run.usage, run.model, run.latency_s) == (usage, "other", 9.0)


def test_function_agent_fills_in_what_the_function_does_not_say():
    run = act(FunctionAgent(lambda prompt: "x", PROFILE))
    assert (run.model, run.usage.calls) == ("mine", 1)


def test_i12_function_agent_reserves_first_and_settles_with_the_reported_usage():
    agent = FunctionAgent(lambda prompt: Run(output="r", usage=Usage(calls=1, input_tokens=3)), PROFILE)
    for short in (Budget(calls=0), Budget(tokens=149), Budget(usd=149e-6)):
        with pytest.raises(BudgetExceeded):
            act(agent, short)
    budget = Budget(tokens=150)
    act(agent, budget)
    assert budget.left("tokens") == 147


def test_whatever_a_function_raises_is_a_model_error_with_its_cause():
    def broken(prompt):
        raise ZeroDivisionError("oops")

    with pytest.raises(ModelError, match="ZeroDivisionError: oops") as caught:
        act(FunctionAgent(broken, PROFILE))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def declines(prompt):
        raise Refused("no")

    with pytest.raises(Refused):
        act(FunctionAgent(declines, PROFILE))
    with pytest.raises(ModelError, match="int"):
        act(FunctionAgent(lambda prompt: 3, PROFILE))
    with pytest.raises(ModelError, match="None"):
        act(FunctionAgent(lambda prompt: None, PROFILE))
    with pytest.raises(ModelError, match="StopIteration"):  # which asyncio cannot carry out of a thread
        act(FunctionAgent(lambda prompt: next(iter(())), PROFILE))


# ── replay ──────────────────────────────────────────────────────────────────────────────────

RECORDED = (ToolCall(id="1", name="look", arguments="{}", result="seven"),)


def again(agent, budget=None):
    return asyncio.run(agent.replay(PROMPT, recorded=RECORDED, budget=budget or Budget(), seed=2))


def test_a_chat_agent_is_replayed_by_asking_again():
    assert again(ChatAgent(ScriptedModel(lambda prompt, seed: f"{seed}"))).output == "2"


def test_a_function_is_replayed_by_calling_it_again_unless_it_must_not_be():
    called = []

    def act_and_note(prompt):
        called.append(prompt)
        return "x"

    assert again(FunctionAgent(act_and_note, PROFILE)).output == "x"
    assert called == [PROMPT]
    budget = Budget(calls=0)
    assert again(FunctionAgent(act_and_note, PROFILE, replay=False), budget) is None
    assert called == [PROMPT]


def test_a_function_for_replays_gets_the_recorded_calls_and_may_decline():
    def never(prompt):
        raise AssertionError

    async def later(prompt, recorded):
        return Run(output=recorded[0].result, usage=Usage(calls=2, input_tokens=3))

    budget = Budget()
    run = again(FunctionAgent(never, PROFILE, replay=lambda prompt, recorded: recorded[0].result), budget)
    assert (run.output, run.model, run.usage, budget.usage.calls) == ("seven", "mine", Usage(calls=1), 1)
    assert again(FunctionAgent(never, PROFILE, replay=later)).usage == Usage(calls=2, input_tokens=3)
    budget = Budget()
    assert again(FunctionAgent(never, PROFILE, replay=lambda prompt, recorded: None), budget) is None
    assert budget.usage.calls == 1
    for short in (Budget(calls=0), Budget(tokens=149), Budget(usd=149e-6)):
        with pytest.raises(BudgetExceeded):
            again(FunctionAgent(never, PROFILE, replay=later), short)
    with pytest.raises(ModelError, match="ValueError"):
        again(FunctionAgent(never, PROFILE, replay=lambda prompt, recorded: int("no")))
