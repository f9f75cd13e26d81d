"""Successes → a skill → tested on their siblings with its body read → a canary; the gate needs to see it read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.unit.proposers.answers import asker

from tokenspace import loop
from tokenspace.budget import Budget
from tokenspace.domain import Message, Prompt, Signal
from tokenspace.gates import GateSettings, ReplayGate
from tokenspace.graders import build as build_grader
from tokenspace.proposers import Skill
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.testing.arena import RIGHT, WRONG, Arena

NUMBERS = ("zero", "one", "two")
SIBLINGS = tuple("abcdefghijklmnop")


def answer(prompt: Prompt, _: int) -> str:
    """Right with the steps before it; without them only for the first three orders."""
    asked: Message = prompt.messages[-1]
    knows = "Call find_order" in asked.text or asked.text.endswith(NUMBERS)
    return RIGHT if knows else WRONG


def skill(description: str) -> dict[str, object]:
    said = {
        "name": "pay-back-order",
        "description": description,
        "parameters": [],
        "preconditions": [],
        "steps": ["Call find_order with its number.", "Call pay_back."],
        "because": ["s1", "s2", "s3"],
    }
    return {"reason": "They go the same way.", "skills": [said]}


def learned(description: str):
    arena = Arena(answer, honest=True)
    arena.run = replace(arena.run, recall=HybridRecall(HashEmbedder()))
    people = ("bob", "eve")
    for at, word in enumerate(NUMBERS):
        arena.say(arena.act(f"please pay back order {word}"), True, signal=Signal.LABEL, by=people[at % 2])
    for at, word in enumerate(SIBLINGS):
        arena.say(arena.act(f"please pay back order {word}"), RIGHT, by=people[at % 2])
    gate = ReplayGate(arena.run, lambda spec: build_grader(spec, model=None), settings=GateSettings())
    proposer = Skill(asker(skill(description)), recall=arena.run.recall)

    async def slept():
        budget = Budget()
        work = loop.sleep(arena.run, arena.scope, (proposer,), gate, budget=budget, again=budget)
        return {one.id: one async for one in work if one.edit is not None}

    return arena, list(asyncio.run(slept()).values())


def test_a_skill_that_helps_when_it_is_read_enters_a_canary() -> None:
    arena, (found,) = learned("please pay back order")
    assert found.proposer == Skill.name
    assert found.verdict.decision == "accept", found.verdict.reason
    assert (found.verdict.basis, found.verdict.tier, found.verdict.breaks) == ("tested", 3, 0)
    assert found.verdict.fixes >= 6
    (canary,) = arena.run.store.canaries(arena.scope)
    served = arena.run.store.context(arena.scope, arena.run.store.heads(arena.scope, branch=canary.branch))
    assert [one.doc for one in served.entries] == ["skills/pay-back-order"]
    cases = {case.id: set(case.sources) for case in arena.run.store.cases(arena.scope)}
    assert not any(cases[id] & set(found.edit.evidence) for id in found.verdict.cases), (
        "I7: its own cases do not judge it"
    )
    assert sum(bool(sources & set(found.edit.evidence)) for sources in cases.values()) == 3, "its tests stay"


def test_a_skill_that_is_never_read_is_not_let_in() -> None:
    _, (found,) = learned("Translate strings of a user interface.")
    assert found.verdict.decision in ("defer", "reject")
