"""A tool's schema never changes by itself; an adapter may, where the tests of its contract ask for it. No model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.world import TENANT, World

from tokenspace.budget import Budget
from tokenspace.context.definitions import Definition, adapters_in
from tokenspace.domain import Drop, Edit, Entry, Kind, Origin, Patch, Put, Signal, Status

PARAMETERS = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["id"],
}
RENAMED = {"in": {"no": 7}, "out": {"id": 7}}
NUMBER = {"in": {"id": "7"}, "out": {"id": 7}}
PLAIN = {"in": {"id": 7}, "out": {"id": 7}}
WANTED = Definition(name="orders", description="Finds orders.", parameters=PARAMETERS, contract=(RENAMED, PLAIN))
ENTRY = Entry(id="orders", kind=Kind.TOOL, doc="definitions/orders", text=WANTED.text)
FIXED = replace(WANTED, adapter={"rename": {"no": "id"}})


class Desk(World):
    """A world that asks no model, with one tool."""

    def __init__(self, definition=WANTED):
        super().__init__(lambda prompt, seed: "Kestrel")
        self.put(replace(ENTRY, text=definition.text), scope=TENANT)

    def tried(self, *ops, source=Origin.USER, read=()):
        said = self.say(self.act("hello", scope=TENANT), "It fails.", Signal.TEXT, source=source)
        before = len(self.model.prompts)
        attempt = self.judge(
            Edit(ops=ops, rationale="r", evidence=(said.episode,), read=read), said, budget=Budget(calls=0)
        )
        assert len(self.model.prompts) == before
        return attempt.verdict

    def adapters(self):
        return adapters_in(self.store.context(TENANT, self.store.heads(TENANT)))


def patch(definition):
    return Patch(id="orders", changes={"text": definition.text})


def test_an_adapter_that_a_standing_test_asks_for_is_accepted_as_a_canary():
    desk = Desk()
    verdict = desk.tried(patch(FIXED))
    assert (verdict.decision, verdict.basis) == ("accept", "tested")
    assert "orders: rename no" in verdict.reason
    assert verdict.share < 1
    assert verdict.usage.calls == 0


def test_more_tests_may_come_with_it():
    assert (
        Desk().tried(patch(replace(FIXED, contract=(*FIXED.contract, NUMBER | {"out": {"id": "7"}})))).decision
        == "accept"
    )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (replace(FIXED, description="Finds all orders."), "description"),
        (replace(FIXED, description="Finds orders. "), "description"),
        (replace(FIXED, name="order"), "name"),
        (replace(FIXED, parameters={**PARAMETERS, "required": []}), "parameters"),
        (replace(FIXED, parameters={**PARAMETERS, "properties": {**PARAMETERS["properties"], "id": {"type": "number"}}}),
         "parameters"),
        (replace(FIXED, contract=(RENAMED,)), "removes a test"),
        (replace(FIXED, contract=()), "removes a test"),
        (replace(FIXED, contract=(PLAIN, NUMBER | {"out": {}}, RENAMED)), "fails a test"),
        (replace(FIXED, adapter={"rename": {"no": "note"}}), "fails a test"),
        (replace(FIXED, adapter={"rename": {"no": "id"}, "default": {"note": "x"}}), "fails a test"),
        (replace(WANTED, contract=(RENAMED, PLAIN, PLAIN | {"in": {"x": 1}})), "fails a test"),
    ],
)  # fmt: skip
def test_what_a_person_wrote_and_a_failing_contract_are_rejected(made, words):
    desk = Desk()
    verdict = desk.tried(patch(made))
    assert (verdict.decision, words in verdict.reason) == ("reject", True), verdict.reason
    assert not desk.adapters()


@pytest.mark.parametrize(
    "op",
    [
        Drop(id="orders"),
        Patch(id="orders", changes={"kind": Kind.FACT}),
        Patch(id="orders", changes={"doc": "definitions/other"}),
        Patch(id="orders", changes={"status": Status.RETIRED}),
        Patch(id="orders", changes={"text": "{"}),
        Put(entry=Entry(kind=Kind.TOOL, doc="definitions/more", text=replace(WANTED, name="more").text)),
        Put(entry=replace(ENTRY, id="twin", text=FIXED.text)),
    ],
)
def test_tools_are_defined_moved_and_removed_by_persons_only(op):
    assert Desk().tried(op).decision == "reject"


def test_i9_words_of_a_tool_change_no_adapter():
    verdict = Desk().tried(patch(FIXED), source=Origin.TOOL)
    assert (verdict.decision, "origin (tool)" in verdict.reason) == ("reject", True)


@pytest.mark.parametrize(
    "adapter",
    [
        {"rename": {"no": "id", "nr": "id"}},
        {"rename": {"no": "id"}, "coerce": {"id": "number"}},
        {"rename": {"no": "id"}, "drop_unknown": True},
        {"rename": {"no": "id"}, "coerce": {"note": "array"}},
    ],
)
def test_what_no_test_asks_for_waits_for_a_person(adapter):
    verdict = Desk().tried(patch(replace(WANTED, adapter=adapter)))
    assert verdict.decision == "defer"
    assert "a person decides" in verdict.reason


def test_an_edit_does_not_bring_its_own_examiner():
    bare = replace(WANTED, contract=())
    verdict = Desk(bare).tried(patch(replace(FIXED, contract=(RENAMED,))))
    assert (verdict.decision, "no test asks" in verdict.reason) == ("defer", True)


def test_taking_an_adapter_back_must_be_asked_for_too():
    desk = Desk(replace(FIXED, contract=(PLAIN,)))
    assert desk.tried(patch(replace(WANTED, contract=(PLAIN,)))).decision == "defer"
    assert desk.adapters()


def test_adding_a_test_alone_waits_for_a_person():
    verdict = Desk(FIXED).tried(patch(replace(FIXED, contract=(*FIXED.contract, {"in": {"id": 1}, "out": {"id": 1}}))))
    assert (verdict.decision, "changes no adapter" in verdict.reason) == ("defer", True)


def test_an_adapter_does_not_carry_another_edit_through():
    rule = Put(entry=Entry(kind=Kind.RULE, doc="rules", text="Be brief."))
    verdict = Desk().tried(patch(FIXED), rule)
    assert (verdict.decision, "propose the rest apart" in verdict.reason) == ("reject", True)


def test_other_edits_are_not_asked_about_contracts():
    rule = Put(entry=Entry(kind=Kind.RULE, doc="rules", text="Be brief."))
    assert "contract" not in Desk().tried(rule).reason
