from __future__ import annotations

import pytest

from tokenspace.budget import Budget
from tokenspace.domain import Run, ToolCall
from tokenspace.errors import BadCompletion, BudgetExceeded, ModelTimeout
from tokenspace.models import ScriptedModel


def test_answers_by_function_mapping_sequence_or_constant(prompt, ask):
    assert (
        ask(ScriptedModel(lambda asked, seed: f"{asked.messages[-1].text}{seed}"), prompt("hi"), seed=2).output == "hi2"
    )
    assert ask(ScriptedModel({"hi": "there", "*": "else"}), prompt("hi")).output == "there"
    assert ask(ScriptedModel({"hi": "there", "*": "else"}), prompt("ho")).output == "else"
    assert ask(ScriptedModel("always"), prompt("ho")).output == "always"
    model = ScriptedModel(["one", "two"])
    assert [ask(model, prompt()).output for _ in range(2)] == ["one", "two"]
    with pytest.raises(BadCompletion, match="number 3"):
        ask(model, prompt())


def test_a_run_in_the_script_is_an_answer_with_tool_calls(prompt, ask):
    call = ToolCall(id="1", name="look", arguments='{"a": 1}')
    run = ask(ScriptedModel([Run(output="so", tool_calls=(call,))]), prompt(choices=("heron",)))
    assert (run.output, run.tool_calls, run.model) == ("so", (call,), "scripted")
    assert (run.usage.calls, run.usage.output_tokens) == (1, 2)


def test_remembers_prompts_and_seeds(prompt, ask):
    model = ScriptedModel("x")
    ask(model, prompt("a"))
    ask(model, prompt("b"), seed=4)
    assert [asked.messages[-1].text for asked in model.prompts] == ["a", "b"]
    assert model.seeds == (0, 4)


def test_raises_errors_of_the_script_as_calls_that_cost_nothing(prompt, ask):
    model, budget = ScriptedModel([ModelTimeout("slow"), "ok"]), Budget(calls=2, tokens=2_000)
    with pytest.raises(ModelTimeout):
        ask(model, prompt(), budget)
    assert budget.left("tokens") == 2_000
    assert ask(model, prompt(), budget).output == "ok"


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("wolf", {"choices": ("heron",)}),
        ("", {}),
        (" ", {}),
        ("four", {"schema": {}}),
        ("a b c", {"max_output_tokens": 2}),
    ],
)
def test_unusable_answers_are_bad_completions_like_those_of_real_models(prompt, ask, answer, asked):
    budget = Budget(calls=1)
    with pytest.raises(BadCompletion):
        ask(ScriptedModel(answer), prompt(**asked), budget)
    assert budget.usage.calls == 1


def test_i12_reserves_before_it_answers(prompt, ask):
    model = ScriptedModel("x")
    with pytest.raises(BudgetExceeded):
        ask(model, prompt(tokens=100, max_output_tokens=50), Budget(tokens=149))
    assert model.prompts == ()
