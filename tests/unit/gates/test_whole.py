"""What is checked beside single edits: harm next to a benefit, the sum of many accepts, noise, and the pool of cases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tests.unit.gates.test_canary import TOLD, many_cases
from tests.unit.gates.test_rules import fails_until_told
from tests.world import ALICE, BASE, World, rule

from tokenspace.agents import FunctionAgent
from tokenspace.budget import Budget
from tokenspace.domain import Basis, Drop, Edit, Entry, Kind, Origin, Prompt, Put, Signal, ToolCall, Verdict
from tokenspace.gates import ReleaseCheck, ReplayGate, noise_floor
from tokenspace.gates.cases import in_pool, sealed
from tokenspace.graders import build
from tokenspace.models import ScriptedModel
from tokenspace.stats import cases_needed

WORDS = ("parcel", "refund")


def says(prompt: Prompt) -> str:
    return prompt.system + prompt.messages[-1].text


def check(world: World, *, budget: Budget | None = None):
    return asyncio.run(world.release.check(BASE, budget=budget or Budget()))


def committed(world: World, *texts: str, basis: Basis = "tested") -> list[str]:
    for number, text in enumerate(texts):
        entry = Entry(id=f"{number + 1:032x}", kind=Kind.RULE, doc="rules", text=text, origin=Origin.OPERATOR)
        world.store.commit(
            BASE, Edit(ops=(Put(entry=entry),)), Verdict(decision="accept", basis=basis),
            expect=world.store.heads(BASE).base, author="test@1", vectors={},
        )  # fmt: skip
    return [one.id for one in world.store.log(BASE)][::-1]


# ── the release check ───────────────────────────────────────────────────────────────────────


def test_a_first_release_check_marks_what_is_served() -> None:
    world = many_cases(World(fails_until_told))
    committed(world, "Be brief.")
    assert check(world).passed
    assert world.release.pending(BASE) == []
    assert check(world).reason == "nothing was committed since"


def test_the_revision_that_made_it_worse_is_found_by_bisection_and_taken_back() -> None:
    def breaks(prompt: Prompt, seed: int) -> str:
        return "Basalt" if "harm" in says(prompt) else "Kestrel"

    world = many_cases(World(breaks))
    committed(world, "Be brief.")
    assert check(world).passed
    ids = committed(world, "Be kind.", "Be quick.", "Do harm.", "Be calm.", "Be exact.")
    found = check(world)
    assert not found.passed
    assert found.culprit is not None
    assert found.culprit.id == ids[3]
    assert found.undone is not None
    assert "Do harm." not in world.texts()
    assert len(world.texts()) == 4
    assert check(world).passed


def test_what_a_person_committed_is_reported_and_not_undone() -> None:
    def breaks(prompt: Prompt, seed: int) -> str:
        return "Basalt" if "harm" in says(prompt) else "Kestrel"

    world = many_cases(World(breaks))
    ids = committed(world, "Be kind.", "Do harm.", basis="human")
    found = check(world)
    assert (found.passed, found.undone) == (False, None)
    assert found.culprit is not None
    assert found.culprit.id == ids[1]
    assert "Do harm." in world.texts()


def test_a_release_check_without_budget_marks_nothing_and_goes_on_later() -> None:
    world = many_cases(World(fails_until_told))
    committed(world, "Be brief.", "Be kind.")
    stopped = check(world, budget=Budget(calls=5))
    assert (stopped.passed, "not finished" in stopped.reason) == (False, True)
    assert len(world.release.pending(BASE)) == 2
    assert check(world).passed


# ── noise ───────────────────────────────────────────────────────────────────────────────────


def test_the_noise_floor_of_a_deterministic_model_is_nothing() -> None:
    world = many_cases(World(fails_until_told))
    noise = asyncio.run(noise_floor(world.run, build, BASE, pairs=10, budget=Budget()))
    assert (noise.pairs, noise.higher, noise.lower, noise.accepted, noise.usage.calls) == (10, 0, 0, False, 20)


def test_the_noise_floor_of_a_noisy_model_is_found() -> None:
    def noisy(prompt: Prompt, seed: int) -> str:
        return "Kestrel" if seed % 2 else "Basalt"

    world = many_cases(World(noisy))
    noise = asyncio.run(noise_floor(world.run, build, BASE, pairs=20, budget=Budget(calls=30)))
    assert (noise.pairs, noise.higher + noise.lower) == (15, 15)


# ── beside the benefit ──────────────────────────────────────────────────────────────────────


def test_harm_to_the_most_similar_cases_rejects_an_edit_that_helps_elsewhere() -> None:
    def mixed(prompt: Prompt, seed: int) -> str:
        told, about = "rule" in says(prompt), prompt.messages[-1].text
        return "Kestrel" if told is ("harmless" in about) else "Basalt"

    world = World(mixed)
    helped = [f"harmless question {n}" for n in range(60)]
    for text in [*helped, *(f"apply this: broken thing {n}" for n in range(8))]:
        world.say(world.act(text, scope=ALICE), "Kestrel", by="bob")
    said = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    attempt = world.judge(rule("apply this rule to a broken thing"), said)
    assert attempt.verdict.decision == "reject", attempt.verdict.reason
    assert "beside where it helps" in attempt.verdict.reason


def test_an_agent_that_sees_more_than_its_prompt_is_found_by_the_audit() -> None:
    calls = 0

    def moody(prompt: Prompt, seed: int) -> str:
        nonlocal calls
        calls += 1
        return "Kestrel" if "goes to Kestrel" in says(prompt) or calls % 2 else "Basalt"

    world = World(moody, audit_share=1.0)
    for text in [*(f"where is parcel {n}" for n in range(12)), *(f"hello {n}" for n in range(12))]:
        world.say(world.act(text, scope=ALICE), "Kestrel", by="bob")
    said = world.say(world.act("good day", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    verdict = world.judge(rule(TOLD, trigger="where is parcel"), said).verdict
    assert verdict.decision in {"defer", "reject"}
    assert "the model sees more than its prompt" in verdict.reason


# ── what only shortens ──────────────────────────────────────────────────────────────────────


def test_a_rule_without_effect_may_go_when_a_loss_is_ruled_out() -> None:
    world = many_cases(
        World(ScriptedModel("Kestrel", profile=World(fails_until_told).model.profile)), scope=ALICE, n=60
    )
    world.put(
        Entry(id="1" * 32, kind=Kind.RULE, doc="rules", text="Be brief.", trigger="a weather report"), scope=ALICE
    )
    said = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    verdict = world.judge(Edit(ops=(Drop(id="1" * 32),)), said).verdict
    assert cases_needed(0.05, alpha=0.2) <= 60
    assert (verdict.decision, verdict.basis) == ("accept", "tested"), verdict.reason
    assert "no worse" in verdict.reason


def test_a_rule_that_helps_is_not_dropped_because_it_is_rarely_needed() -> None:
    world = World(fails_until_told)
    world.put(Entry(id="1" * 32, kind=Kind.RULE, doc="rules", text=TOLD, trigger="where is parcel"), scope=ALICE)
    for text in [*(f"where is parcel {n}" for n in range(3)), *(f"hello {n}" for n in range(60))]:
        right = "Kestrel" if "parcel" in text else "Basalt"
        world.say(world.act(text, scope=ALICE), right, by="bob")
    said = world.say(world.act("good day", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    verdict = world.judge(Edit(ops=(Drop(id="1" * 32),)), said).verdict
    assert (verdict.decision, verdict.breaks) == ("reject", 3), verdict.reason


# ── cases ───────────────────────────────────────────────────────────────────────────────────


def test_i7_cases_that_cannot_be_replayed_lead_to_probation_and_not_to_acceptance() -> None:
    async def no_replay(prompt: Prompt, recorded: Sequence[ToolCall]) -> None:
        return None

    world = many_cases(World(fails_until_told), scope=ALICE, n=12)
    said = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    agent = FunctionAgent(lambda prompt: fails_until_told(prompt, 0), world.model.profile, replay=no_replay)
    world.run = replace(world.run, agent=agent)
    world.gate = ReplayGate(world.run, build, settings=world.settings)
    verdict = world.judge(rule(TOLD), said).verdict
    assert (verdict.decision, verdict.pairs) == ("defer", 0)
    assert "probation" in verdict.reason
    assert world.texts(ALICE) == []


def test_a_large_pool_seals_a_part_and_rests_another_each_month() -> None:
    world = many_cases(World(fails_until_told), n=300)
    cases = world.store.cases(BASE)
    pools = [
        {case.id for case in in_pool(cases, settings=world.settings, now=datetime(2026, month, 1, tzinfo=UTC))}
        for month in range(1, 6)
    ]
    hidden = {case.id for case in cases if sealed(case, world.settings)}
    assert 15 <= len(hidden) <= 45
    assert all(not hidden & pool for pool in pools)
    assert all(180 <= len(pool) <= 240 for pool in pools)
    assert set.union(*pools) == {case.id for case in cases} - hidden
    assert in_pool(cases[:100], settings=world.settings, now=datetime(2026, 1, 1, tzinfo=UTC)) == cases[:100]


def test_sealed_cases_are_asked_a_few_times_a_month_only() -> None:
    world = many_cases(World(fails_until_told, sealed_queries=1), n=300)
    hidden = {case.id for case in world.store.cases(BASE) if sealed(case, world.settings)}
    committed(world, "Be brief.")
    everything = ReleaseCheck(world.run, build, settings=world.settings, most_cases=1_000)
    from tokenspace.gates import Replayer

    replayer = Replayer(world.run, build, BASE)
    assert hidden & {case.id for case in everything.cases(replayer, BASE)}
    assert check(world).passed
    assert not hidden & {case.id for case in everything.cases(replayer, BASE)}
