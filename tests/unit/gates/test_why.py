"""Finding the line that did it, by replay."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.world import ALICE, TEXT, World

from tokenspace.agents import FunctionAgent
from tokenspace.budget import Budget
from tokenspace.domain import Entry, Episode, Kind, Profile, Prompt
from tokenspace.errors import ModelTimeout
from tokenspace.gates import Cause, why
from tokenspace.models import ScriptedModel

NOISY = Profile(model="scripted", context_tokens=100_000, core_tokens=50_000)


def rules(world: World, *texts: str) -> None:
    for place, text in enumerate(texts):
        world.put(Entry(id=f"rule-{place:02}", kind=Kind.RULE, doc="rules", text=text, pos=place))


def ask(world: World, episode: Episode, budget: Budget | None = None, **options) -> Cause:
    return asyncio.run(why(world.run, episode, budget=budget or Budget(), **options))


def says(*words: str):
    """Answers Basalt if one of these is in the prompt."""
    return lambda prompt, seed: "Basalt" if any(word in prompt.system for word in words) else "Kestrel"


def test_the_line_that_did_it_is_found_confirmed_and_named() -> None:
    world = World(says("number 11."))
    rules(world, *(f"Rule number {place}." for place in range(20)))
    episode = world.act("Which team?")
    cause = ask(world, episode)
    assert (cause.finding, cause.entries, cause.confirmed, cause.stopped) == ("entry", ("rule-11",), True, "")
    assert cause.replays <= 12
    assert cause.probability > 0.95
    assert cause.suspects[0][0] == "rule-11"
    assert cause.usage.calls == cause.replays
    assert "confirmed" in cause.words


def test_every_replay_is_a_fresh_run_of_the_same_prompt_without_some_entries() -> None:
    world = World(says("number 3."))
    rules(world, *(f"Rule number {place}." for place in range(6)))
    episode = world.act("Which team?")
    served = world.model.prompts[0]
    cause = ask(world, episode)
    assert world.model.seeds[1:] == tuple(range(1, cause.replays + 1))
    assert world.model.prompts[1].compiled_hash == served.compiled_hash
    for prompt in world.model.prompts[1:]:
        assert set(prompt.included) <= set(served.included)


def test_one_noisy_line_of_64_is_found_within_35_replays() -> None:
    draw, found = random.Random(3), 0
    for _ in range(8):
        planted = draw.randrange(64)

        def answer(prompt: Prompt, seed: int, planted=planted) -> str:
            misled = seed > 0 and draw.random() < 0.1
            return "Basalt" if (f"number {planted}." in prompt.system) != misled else "Kestrel"

        world = World(ScriptedModel(answer, profile=NOISY))
        rules(world, *(f"Rule number {place}." for place in range(64)))
        cause = ask(world, world.act("Which team?"))
        assert cause.replays <= 35
        found += cause.entries == (f"rule-{planted:02}",) and cause.confirmed
    assert found >= 7


def test_recalled_entries_are_ablated_and_nothing_else_is_recalled_into_the_gap() -> None:
    world = World(teachers=["ana"])
    for number in range(12):
        world.teach(f"parcel {number} is lost", "Kestrel")
    wrong = "my parcel is lost and broken"
    world.put(Entry(id="wrong", kind=Kind.EXAMPLE, doc="examples", trigger=wrong, text="Basalt"))
    episode = world.act("a parcel is lost and broken")
    assert episode.output == "Basalt"
    assert len(episode.shown) == 8
    cause = ask(world, episode)
    assert (cause.finding, cause.entries) == ("entry", ("wrong",))


def test_it_asks_under_the_heads_of_the_episode_and_not_those_of_today() -> None:
    world = World(says("Always Basalt."))
    rules(world, "Always Basalt.", "Be brief.")
    episode = world.act("Which team?")
    world.put(Entry(id="rule-00", kind=Kind.RULE, doc="rules", text="Always Kestrel."))
    assert ask(world, episode).entries == ("rule-00",)


def test_inherited_lines_are_found_too() -> None:
    world = World(says("Always Basalt."))
    rules(world, "Always Basalt.")
    world.put(Entry(id="mine", kind=Kind.RULE, doc="rules", text="Be brief."), scope=ALICE)
    assert ask(world, world.act("Which team?", scope=ALICE)).entries == ("rule-00",)


def test_two_lines_that_each_cause_it_are_both_named() -> None:
    world = World(says("number 2.", "number 9."))
    rules(world, *(f"Rule number {place}." for place in range(12)))
    cause = ask(world, world.act("Which team?"))
    assert (cause.finding, set(cause.entries), cause.confirmed) == ("several", {"rule-02", "rule-09"}, True)
    assert "leaving out one alone changes nothing" in cause.words


@pytest.mark.parametrize("lines", [(2, 5, 9), (0, 1, 2, 3, 4), tuple(range(12))])
def test_all_lines_that_each_cause_it_are_named_and_none_of_them_alone(lines) -> None:
    world = World(says(*(f"number {place}." for place in lines)))
    rules(world, *(f"Rule number {place}." for place in range(12)))
    cause = ask(world, world.act("Which team?"))
    assert (cause.finding, cause.confirmed) == ("several", True)
    assert cause.entries == tuple(f"rule-{place:02}" for place in lines)
    assert cause.replays <= 35


def test_examples_that_say_the_same_are_not_blamed_on_one() -> None:
    world = World(teachers=["ana"])
    for number in range(12):
        world.teach(f"parcel {number} is lost", "Kestrel")
    cause = ask(world, world.act("a parcel is lost"))
    assert (cause.finding, len(cause.entries), cause.confirmed) == ("several", 8, True)


def test_noise_makes_no_single_culprit_of_several() -> None:
    draw, single = random.Random(3), 0
    for _ in range(10):

        def answer(prompt: Prompt, seed: int) -> str:
            misled = seed > 0 and draw.random() < 0.1
            there = any(f"number {place}." in prompt.system for place in (2, 5, 9))
            return "Basalt" if there != misled else "Kestrel"

        world = World(ScriptedModel(answer, profile=NOISY))
        rules(world, *(f"Rule number {place}." for place in range(12)))
        cause = ask(world, world.act("Which team?"))
        single += cause.finding == "entry" and cause.confirmed
    assert single == 0


def test_what_the_model_does_by_itself_is_blamed_on_no_line() -> None:
    world = World(lambda prompt, seed: "Basalt")
    rules(world, "Be brief.", "Be kind.")
    cause = ask(world, world.act("Which team?"))
    assert (cause.finding, cause.entries, cause.replays) == ("model", (), 2)


def test_what_does_not_happen_again_is_said() -> None:
    world = World(lambda prompt, seed: "Kestrel" if seed else "Basalt")
    rules(world, "Be brief.", "Be kind.")
    assert ask(world, world.act("Which team?")).finding == "gone"


def test_without_any_entry_nothing_is_asked() -> None:
    world = World(says("nothing"))
    cause = ask(world, world.act("Which team?"))
    assert (cause.finding, cause.replays) == ("model", 0)
    assert "no learned entry" in cause.words


def test_a_behaviour_can_be_part_of_an_answer() -> None:
    world = World(lambda prompt, seed: f"Dear sir, {'cheers' if 'salute' in prompt.system else 'bye'} {seed}")
    rules(world, "Be brief.", "Always salute.", "Be kind.")
    episode = world.act("Hello", choices=None)
    cause = ask(world, episode, shows=lambda said: "cheers" in said)
    assert cause.entries == ("rule-01",)


def test_an_agent_with_effects_is_not_run_again() -> None:
    calls = []
    world = World()
    rules(world, "Be brief.")
    episode = world.act("Which team?")
    agent = FunctionAgent(lambda prompt: calls.append(prompt) or "Basalt", TEXT, replay=False)
    object.__setattr__(world.run, "agent", agent)
    cause = ask(world, episode)
    assert (cause.finding, cause.confirmed, calls) == ("not replayable", False, [])


def test_a_budget_that_runs_out_ends_with_what_is_known() -> None:
    world = World(says("number 11."))
    rules(world, *(f"Rule number {place}." for place in range(20)))
    cause = ask(world, world.act("Which team?"), Budget(calls=4))
    assert (cause.finding, cause.usage.calls, cause.confirmed) == ("unclear", 4, False)
    assert "budget ran out" in cause.stopped
    assert cause.suspects


def test_too_few_replays_are_said_to_be_too_few() -> None:
    world = World(says("number 11."))
    rules(world, *(f"Rule number {place}." for place in range(20)))
    cause = ask(world, world.act("Which team?"), replays=3)
    assert (cause.finding, cause.replays, cause.stopped) == ("unclear", 3, "all 3 replays were used")


@pytest.mark.parametrize("failing", [{2}, {1, 3}])
def test_a_replay_that_fails_tells_nothing(failing) -> None:
    def answer(prompt: Prompt, seed: int):
        return ModelTimeout("slow") if seed in failing else says("number 3.")(prompt, seed)

    world = World(answer)
    rules(world, *(f"Rule number {place}." for place in range(6)))
    assert ask(world, world.act("Which team?")).entries == ("rule-03",)


def test_a_model_that_always_fails_ends_the_search() -> None:
    world = World(lambda prompt, seed: ModelTimeout("slow") if seed else "Basalt")
    rules(world, "Be brief.")
    cause = ask(world, world.act("Which team?"))
    assert (cause.finding, cause.replays) == ("unclear", 5)
    assert "could not be measured" in cause.stopped
