"""Replaying several pairs at once changes no verdict."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.budget import Budget
from tokenspace.domain import Profile
from tokenspace.errors import ModelTimeout
from tokenspace.gates import GateSettings, ReplayGate
from tokenspace.graders import build
from tokenspace.models import ScriptedModel
from tokenspace.testing.arena import RIGHT, SCOPES, WRONG, Arena, rule

COST = {"usage", "gate"}


def judged(seed: int, batch: int, tier: int, *, cases: int = 16, calls: float = float("inf"), missing: float = 0.05):
    """A verdict on an edit of this effect, and what was asked; the answers depend on the prompt and the seed only."""
    chance = random.Random(seed)
    before, after = chance.choice([(0.2, 0.9), (0.5, 0.5), (0.8, 0.3), (0.0, 1.0), (0.4, 0.7)])

    def answer(prompt, run):
        drawn = random.Random(f"{seed} {prompt.system} {prompt.messages[-1].text} {run}")
        if drawn.random() < missing:
            return ModelTimeout("no answer")
        return RIGHT if drawn.random() < (after if "help" in prompt.system else before) else WRONG

    arena = Arena(answer, scope=SCOPES[tier], deterministic=False)
    arena.taught(cases, people=["bob", "carl", "dora"])
    rules = GateSettings(alpha={2: 0.2, 3: 0.2, 4: 0.2}, batch=batch)
    gate = ReplayGate(arena.run, build, settings=rules)
    budget = Budget(calls=calls)
    verdict = arena.judge(gate, rule("help"), budget=budget).verdict
    return verdict, arena, budget


def plain(verdict):
    return replace(verdict, usage=type(verdict.usage)())


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), tier=st.sampled_from([2, 3]), batch=st.sampled_from([2, 5, 16]))
def test_a_verdict_does_not_depend_on_the_batch(seed, tier, batch):
    one, few, _ = judged(seed, 1, tier)
    other, many, budget = judged(seed, batch, tier)
    assert plain(one) == plain(other)
    assert few.calls <= many.calls <= few.calls + 2 * 2 * batch
    assert budget.usage.calls == many.calls, "what was replayed beyond the stop is counted"


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), calls=st.integers(0, 60))
def test_a_small_budget_gives_the_same_verdict_with_a_batch(seed, calls):
    one, _, _ = judged(seed, 1, 2, calls=calls)
    other, _, budget = judged(seed, 16, 2, calls=calls)
    assert budget.left("calls") >= 0
    assert one.decision == other.decision
    assert one.cases == other.cases


def test_what_was_replayed_beyond_the_stop_is_remembered():
    _, arena, _ = judged(1, 16, 2, missing=0)
    before = arena.calls
    gate = ReplayGate(arena.run, build, settings=GateSettings(alpha={2: 0.2, 3: 0.2, 4: 0.2}, batch=1))
    arena.judge(gate, rule("help"))
    assert arena.calls == before, "a remembered replay was paid for again"


def test_so_many_are_under_way_as_the_batch_says():
    flying, most = 0, 0

    class Counting(ScriptedModel):
        async def complete(self, prompt, *, budget, seed=0):
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.001)
            try:
                return await super().complete(prompt, budget=budget, seed=seed)
            finally:
                flying -= 1

    for batch, deterministic, expected in ((1, False, 1), (6, False, 6), (0, True, 1), (0, False, 8)):
        most = 0
        arena = Arena(lambda *_: RIGHT, scope=SCOPES[3], deterministic=deterministic)
        arena.taught(20)
        profile = Profile(
            model="arena", context_tokens=1_000_000, core_tokens=500_000, deterministic=deterministic
        )  # fmt: skip
        agent = type(arena.run.agent)(Counting(lambda *_: RIGHT, profile=profile), honest=False)
        run = replace(arena.run, agent=agent)
        arena.run = run
        arena.judge(ReplayGate(run, build, settings=GateSettings(batch=batch)), rule("help"))
        assert most == expected, f"{most} of {batch}"


@pytest.mark.parametrize("batch", [1, 16])
def test_a_test_that_is_stopped_from_outside_leaves_nothing_under_way(batch):
    async def main():
        arena = world[0]
        gate = ReplayGate(arena.run, build, settings=GateSettings(batch=batch))
        from tokenspace import loop

        work = asyncio.create_task(loop.judge(arena.run, gate, arena.attempt(rule("help")), budget=Budget()))
        await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    arena = Arena(lambda *_: RIGHT, scope=SCOPES[3], deterministic=False)
    arena.taught(20)
    arena.model._latency_s = 0.5
    world = [arena]
    assert asyncio.run(main()) == []
