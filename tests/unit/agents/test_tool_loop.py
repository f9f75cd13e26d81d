"""The tool loop: live with tools, and again against what was recorded."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace

import pytest
from tests.world import ALICE, BASE, TEXT, World

from tokenspace.agents import ToolLoopAgent
from tokenspace.budget import Budget
from tokenspace.context.definitions import Adapter
from tokenspace.domain import Message, Profile, Prompt, Run, Signal, ToolCall
from tokenspace.errors import BadCompletion, BudgetExceeded, ModelTimeout, UsageError
from tokenspace.models import ScriptedModel

PROMPT = Prompt(system="s", messages=(Message(role="user", text="Where is 7?"),), tokens=100, max_output_tokens=50)


def call(name, arguments, id="c", result=None):
    return ToolCall(id=id, name=name, arguments=arguments, result=result)


def asks(*calls, text=""):
    """An answer that calls tools; calls are (name, arguments)."""
    return Run(output=text, tool_calls=tuple(call(*one, id=f"c{i}") for i, one in enumerate(calls)))


class Desk:
    """Tools with an effect, and a script that uses them."""

    def __init__(self, *script, **options):
        self.notes = []
        self.model = ScriptedModel(script)
        tools = {"where": self.where, "note": self.note, "broken": self.broken, "next": lambda: next(iter(()))}
        self.agent = ToolLoopAgent(self.model, tools, **options)

    def where(self, id, *, exact=False):
        return {"id": id, "place": "döck", "exact": exact}

    async def note(self, text):
        self.notes.append(text)
        return f"note {len(self.notes)}"

    def broken(self):
        raise ZeroDivisionError("oops")

    def run(self, budget=None):
        return asyncio.run(self.agent.run(PROMPT, budget=budget or Budget(), seed=3))

    def replay(self, recorded, budget=None):
        return asyncio.run(self.agent.replay(PROMPT, recorded=recorded, budget=budget or Budget(), seed=3))


def results(run):
    return [made.result for made in run.tool_calls]


# ── live ────────────────────────────────────────────────────────────────────────────────────


def test_tools_are_run_in_order_until_the_model_answers():
    desk = Desk(
        asks(("where", '{"id": 7}'), ("note", '{"text": "a"}'), text="Let me see."),
        asks(("note", '{"text": "b"}')),
        "dock",
    )
    budget = Budget(calls=3)
    run = desk.run(budget)
    assert run.output == "dock"
    assert results(run) == ['{"id": 7, "place": "döck", "exact": false}', "note 1", "note 2"]
    assert desk.notes == ["a", "b"]
    assert [(m.role, m.text, m.tool_call_id) for m in run.messages] == [
        ("assistant", "Let me see.", None),
        ("tool", results(run)[0], "c0"),
        ("tool", "note 1", "c1"),
        ("assistant", "", None),
        ("tool", "note 2", "c0"),
    ]  # fmt: skip
    assert [len(m.tool_calls) for m in run.messages] == [2, 0, 0, 1, 0]
    assert [prompt.messages for prompt in desk.model.prompts] == [
        PROMPT.messages, PROMPT.messages + run.messages[:3], PROMPT.messages + run.messages
    ]  # fmt: skip
    assert desk.model.seeds == (3, 3, 3)
    assert (run.usage, run.usage.calls, run.model) == (budget.usage, 3, "scripted")
    assert run.latency_s > 0


def test_without_a_tool_call_it_is_one_call_of_its_model():
    run = Desk("dock").run()
    assert (run.output, run.messages, run.tool_calls, run.usage.calls) == ("dock", (), (), 1)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("broken", "{}", "error: ZeroDivisionError: oops"),
        ("broken", "", "error: ZeroDivisionError: oops"),
        ("next", "{}", "error: RuntimeError: StopIteration"),
        ("wher", "{}", "error: there is no tool 'wher'"),
        ("where", '{"id": ', "error: the arguments are not a JSON object"),
        ("where", "[7]", "error: the arguments are not a JSON object"),
        ("where", '{"id": NaN}', "error: the arguments are not a JSON object"),
        ("where", "[" * 100_000, "error: the arguments are not a JSON object"),
    ],
)
def test_a_call_that_goes_wrong_is_told_to_the_model(name, arguments, told):
    run = Desk(asks((name, arguments)), "sorry").run()
    assert (run.output, results(run), run.messages[-1].text) == ("sorry", [told], told)


def test_wrong_arguments_and_results_that_json_cannot_hold_are_errors_of_the_tool():
    run = Desk(asks(("where", '{"number": 7}')), "sorry").run()
    assert results(run)[0].startswith("error: TypeError: ")
    agent = ToolLoopAgent(ScriptedModel([asks(("odd", "{}")), "sorry"]), {"odd": lambda: {1, 2}})
    run = asyncio.run(agent.run(PROMPT, budget=Budget()))
    assert results(run)[0].startswith("error: TypeError: ")


def test_a_loop_without_an_end_is_a_bad_completion_and_its_last_call_is_not_run():
    desk, budget = Desk(*[asks(("note", '{"text": "x"}'))] * 9, max_steps=3), Budget()
    with pytest.raises(BadCompletion, match="after 3 steps and 2 calls") as caught:
        desk.run(budget)
    assert caught.value.hint
    assert (budget.usage.calls, desk.notes) == (3, ["x", "x"])
    assert Desk(asks(("note", '{"text": "x"}')), "done", max_steps=2).run().output == "done"
    with pytest.raises(UsageError):
        Desk(max_steps=0)


def test_an_error_of_the_model_in_the_middle_is_raised_and_what_was_paid_stays_paid():
    budget = Budget(calls=5)
    with pytest.raises(ModelTimeout):
        Desk(asks(("where", '{"id": 7}')), ModelTimeout("slow")).run(budget)
    assert budget.left("calls") == 3


def test_i12_a_budget_that_runs_out_in_the_middle_stops_the_loop_before_the_next_call():
    script = asks(("note", '{"text": "a"}')), asks(("note", '{"text": "b"}')), "done"
    desk, budget = Desk(*script), Budget(calls=2)
    with pytest.raises(BudgetExceeded):
        desk.run(budget)
    assert (len(desk.model.prompts), desk.notes, budget.left("calls")) == (2, ["a", "b"], 0)
    recorded = [call("note", '{"text": "a"}', result="1"), call("note", '{"text": "b"}', result="2")]
    again, budget = Desk(*script), Budget(calls=2)
    with pytest.raises(BudgetExceeded):
        again.replay(recorded, budget)
    assert (again.notes, budget.usage.calls) == ([], 2)


def test_i12_every_call_reserves_an_upper_bound_of_the_grown_prompt():
    profile = Profile(model="m", tokens_per_byte=0.5, tokens_per_message=10)
    result = "ü" * 40
    agent = ToolLoopAgent(
        ScriptedModel([asks(("look", '{"a": 1}'), text="So."), "done"], profile=profile), {"look": lambda a: result}
    )
    asked = ("So.", 'c0look{"a": 1}', result, "c0")
    grown = 100 + sum(math.ceil(len(text.encode()) / 2) for text in asked) + 3 * 10  # two messages and one call
    with pytest.raises(BudgetExceeded):
        asyncio.run(agent.run(PROMPT, budget=Budget(tokens=grown + 50 - 1)))
    model = ScriptedModel([asks(("look", '{"a": 1}'), text="So."), "done"], profile=profile)
    asyncio.run(ToolLoopAgent(model, {"look": lambda a: result}).run(PROMPT, budget=Budget()))
    assert [prompt.tokens for prompt in model.prompts] == [100, grown]
    by_hand = ScriptedModel([asks(("look", '{"a": 1}')), "done"])
    agent = ToolLoopAgent(by_hand, {"look": lambda a: result})
    asyncio.run(agent.run(replace(PROMPT, tokens=0), budget=Budget()))
    assert [prompt.tokens for prompt in by_hand.prompts] == [0, 0]


# ── replay ──────────────────────────────────────────────────────────────────────────────────

TWICE = asks(("where", '{"id": 7, "exact": true}'), ("note", '{"text": "a"}')), asks(("note", '{"text": "a"}')), "dock"


def test_a_replay_repeats_the_run_without_any_effect():
    first = Desk(*TWICE)
    lived = first.run()
    again, budget = Desk(*TWICE), Budget()
    replayed = again.replay(lived.tool_calls, budget)
    assert (first.notes, again.notes) == (["a", "a"], [])
    assert replace(replayed, latency_s=0) == replace(lived, latency_s=0)
    assert again.model.prompts == first.model.prompts
    assert again.model.seeds == (3, 3, 3)
    assert budget.usage == lived.usage


def test_another_order_white_space_order_of_keys_and_ids_do_not_matter():
    lived = Desk(*TWICE).run()
    other = (
        asks(("note", '{ "text":"\\u0061" }')),
        asks(("note", '{"text": "a"}'), ("where", '{"exact":true,"id":7}')),
        "dock",
    )
    replayed = Desk(*other).replay(lived.tool_calls)
    assert results(replayed) == ["note 1", "note 2", results(lived)[0]]


@pytest.mark.parametrize(
    "asked",
    [
        ("note", '{"text": "b"}'),
        ("where", '{"id": 7.0, "exact": true}'),
        ("where", '{"id": "7", "exact": true}'),
        ("where", '{"id": 7, "exact": 1}'),
        ("where", '{"id": 7}'),
        ("wher", '{"id": 7, "exact": true}'),
        ("where", '{"id": 7, "exact": true'),
        ("broken", "{}"),
    ],
)
def test_a_call_that_was_not_recorded_cannot_be_replayed(asked):
    lived = Desk(*TWICE).run()
    desk, budget = Desk(asks(("note", '{"text": "a"}')), asks(asked), "dock"), Budget(calls=9)
    assert desk.replay(lived.tool_calls, budget) is None
    assert budget.usage.calls == 2  # what was asked until then is paid for
    assert desk.notes == []


def test_a_recorded_result_answers_one_call_only():
    lived = Desk(*TWICE).run()
    thrice = asks(("note", '{"text": "a"}'), ("note", '{"text": "a"}'), ("note", '{"text": "a"}')), "dock"
    assert Desk(*thrice).replay(lived.tool_calls) is None
    assert Desk(*TWICE).replay(lived.tool_calls[:2]) is None
    assert Desk(*TWICE).replay([replace(made, result=None) for made in lived.tool_calls]) is None
    assert Desk("dock").replay(lived.tool_calls).output == "dock"
    assert Desk("dock").replay([]).output == "dock"


def test_recorded_failures_are_replayed_as_they_were():
    script = asks(("broken", "{}"), ("wher", "{}"), ("where", "{nonsense")), "sorry"
    lived = Desk(*script).run()
    again = ToolLoopAgent(ScriptedModel(script), {})
    replayed = asyncio.run(again.replay(PROMPT, recorded=lived.tool_calls, budget=Budget()))
    assert results(replayed) == results(lived)


def test_a_replay_that_does_not_end_is_a_bad_completion():
    recorded = [call("note", '{"text": "x"}', result="ok")] * 9
    with pytest.raises(BadCompletion):
        Desk(*[asks(("note", '{"text": "x"}'))] * 9, max_steps=3).replay(recorded)


# ── the case of an episode ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
def test_a_case_keeps_the_recorded_calls_of_its_episode_and_replays_with_them(tmp_path, url):
    world = World(lambda prompt, seed: "", store=f"sqlite:///{tmp_path}/s.db" if url == "sqlite" else url)
    script = [asks(("where", '{"id": "é"}'), ("broken", "{}")), "Kestrel"]
    desk = Desk()
    world.run = replace(
        world.run, agent=ToolLoopAgent(ScriptedModel([*script, *script], profile=TEXT), {"where": desk.where})
    )
    episode = world.act("Where is it?", scope=ALICE)
    world.say(episode, True, Signal.LABEL)
    (case,) = world.store.cases(ALICE)
    assert case.recorded == episode.run.tool_calls
    assert world.store.episode(ALICE, episode.id).run == episode.run
    assert json.loads(results(episode.run)[0])["id"] == "é"
    replayed = asyncio.run(world.run.agent.replay(PROMPT, recorded=case.recorded, budget=Budget()))
    assert replayed.tool_calls == case.recorded
    world.store.close()


def test_calls_that_nobody_ran_are_not_recorded():
    world = World(lambda prompt, seed: asks(("where", "{}")))
    world.say(world.act("Where is it?", choices=None), "dock")
    assert [case.recorded for case in world.store.cases(BASE)] == [()]


# ── adapters ────────────────────────────────────────────────────────────────────────────────


def test_a_tool_gets_adapted_arguments_and_the_recording_keeps_the_models_own():
    adapter = Adapter(rename={"no": "id"}, coerce={"id": "number"}, drop_unknown=True, known=frozenset({"id"}))
    script = asks(("where", '{"no": "7", "please": true}'), ("broken", "{}")), "dock"
    served = dict[str, Adapter]()
    desk = Desk(*script * 2, adapters=lambda: served)
    assert results(desk.run())[0].startswith("error: TypeError")
    served["where"] = adapter
    run = desk.run()
    assert results(run)[0] == '{"id": 7, "place": "döck", "exact": false}'
    assert run.tool_calls[0].arguments == '{"no": "7", "please": true}'
    assert run.messages[0].tool_calls[0].arguments == '{"no": "7", "please": true}'
    again = Desk(*script)
    assert results(again.replay(run.tool_calls)) == results(run), "a replay needs no adapter"


def test_an_adapter_is_not_asked_about_what_is_no_object():
    adapters = {"where": Adapter(default={"id": 7})}
    run = Desk(asks(("where", "[7]"), ("where", "")), "done", adapters=lambda: adapters).run()
    assert results(run) == [
        "error: the arguments are not a JSON object", '{"id": 7, "place": "döck", "exact": false}'
    ]  # fmt: skip
