"""Which way of showing entries suits a model is found by replay and decided by the gate, like everything else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

import tokenspace
from tokenspace.budget import Budget
from tokenspace.context.renderers import STYLES, carried, renderer, styled
from tokenspace.domain import Entry, Heads, Kind, Layer, Message, Profile, Put, Request
from tokenspace.models import NearestModel
from tokenspace.models.nearest import NEAREST
from tokenspace.proposers import Renderer
from tokenspace.testing import check_proposer

TEAMS = ("Kestrel", "Basalt", "Otter", "Juniper")
THINGS = ("parcel delivery", "refund money", "grinder machine", "invoice address")
EACH = 8


@pytest.fixture
def desk():
    """An agent whose model copies the nearest example among the turns of a conversation, and is shown none as turns."""
    agent = tokenspace.open("desk", model=NearestModel(profile=replace(NEAREST, style="text")), store="memory:")
    yield agent.at("acme", "bob")
    agent.close()


def taught(desk):
    for number in range(EACH):
        for thing, team in zip(THINGS, TEAMS, strict=True):
            episode = desk.act(f"about my {thing}, case {thing[0]}{number}", choices=TEAMS)
            desk.observe(episode, correction=team)
    desk.learn()
    return desk


def right(desk) -> float:
    answers = [desk.act(f"my {thing}!", choices=TEAMS).output for thing in THINGS]
    return sum(map(str.__eq__, answers, TEAMS)) / len(TEAMS)


def test_the_style_that_a_model_understands_is_found_by_replay(desk) -> None:
    taught(desk)
    before = right(desk)
    tried = desk.gate.measure_renderers()
    served = renderer(desk.context(), desk.parts.runtime.agent.profile.model)
    assert served is not None
    assert served.text in ("turns", "history")
    assert tried[-1].proposer == "renderer@1"
    assert any(one.verdict.decision == "accept" and one.verdict.basis == "tested" for one in tried)
    assert before < 1.0
    assert right(desk) == 1.0


def test_a_style_that_lost_waits_until_there_is_twice_as_much_feedback(desk) -> None:
    taught(desk)
    first = desk.gate.measure_renderers()
    ops = [op for one in first if one.edit for op in one.edit.ops]
    styles = [op.entry.text if isinstance(op, Put) else op.changes["text"] for op in ops]
    assert sorted(styles) == sorted({"text", *styles}) == sorted(STYLES)
    assert {one.id for one in desk.gate.measure_renderers()} <= {one.id for one in first}


def test_too_little_feedback_proposes_nothing(desk) -> None:
    desk.observe(desk.act("hello", choices=TEAMS), correction="Otter")
    assert desk.gate.measure_renderers() == []


def test_the_renderer_keeps_the_rules_of_proposers() -> None:
    check_proposer(lambda: Renderer(NEAREST))


def test_i5_a_renderer_is_of_one_model_and_the_lowest_layer_decides() -> None:
    def at(text: str, model: str | None) -> Layer:
        entry = Entry(kind=Kind.RENDERER, doc="renderer", text=text, trigger=model)
        return Layer(own={entry.id: entry})

    scope = tokenspace.Scope(agent="desk", tenant="acme", user="bob")
    layers = (at("history", None), at("rules", "other"), at("nonsense", None))
    context = tokenspace.Context(scope=scope, heads=Heads(), layers=layers)
    assert styled(Profile(model="mine"), context).style == "history"
    assert styled(Profile(model="other"), context).style == "rules"
    # A gateway carries what somebody else's request has room for.
    assert carried(Profile(model="mine", recalled=3), context) == Profile(model="mine", recalled=3, style="turns")
    assert carried(Profile(model="other"), context).style == "text"


def test_a_renderer_for_every_model_is_not_changed_on_one_model_s_evidence(desk) -> None:
    taught(desk)
    everyone = Entry(kind=Kind.RENDERER, doc="renderer", text="text")
    desk.commit(tokenspace.Edit(ops=(Put(entry=everyone),)), upon=desk.context())
    desk.gate.measure_renderers()
    assert desk.context().by_id[everyone.id].text == "text"


@pytest.mark.parametrize("style", STYLES)
def test_i6_every_style_stays_within_its_budget_and_names_what_it_shows(style, desk) -> None:
    taught(desk)
    run = desk.parts.runtime
    profile = replace(run.agent.profile, style=style, tokens_per_byte=1.0)
    request = Request(messages=(Message(role="user", text="my parcel!"),), choices=TEAMS)
    context = desk.context()
    ranked = run.recall.rank(list(context.entries), context.vectors, request.query)
    for budget in (200, 400, 1_000):
        prompt = tokenspace.context.compile_context(
            context, ranked, request, profile=profile, budget=budget, now=run.clock()
        )
        assert prompt.tokens <= budget
        assert len(prompt.included) + len(prompt.dropped) == len(context.entries)
        text = prompt.system + "".join(message.text for message in prompt.messages)
        assert all(context.by_id[id].text in text for id in prompt.included)
    assert asyncio.run(run.agent.run(prompt, budget=Budget())).output in TEAMS
