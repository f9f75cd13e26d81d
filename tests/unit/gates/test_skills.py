"""What the gate asks of a skill beside the rest: a short line in the index, and a body that was read."""

from __future__ import annotations

from tests.world import ALICE, World

from tokenspace.domain import Edit, Entry, Kind, Prompt, Put, Signal

MESSAGES = [
    f"where is parcel number {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
]


def reads(prompt: Prompt, seed: int) -> str:
    """Right wherever a skill's line is, so that only the gate can tell whether its body was read."""
    return "Kestrel" if "parcels:" in prompt.system else "Basalt"


def skill(**more) -> Edit:
    fields = {"trigger": "where is parcel number", "text": "Say Kestrel.", **more}
    return Edit(ops=(Put(entry=Entry(id="s", kind=Kind.SKILL, doc="skills/parcels", **fields)),))


def judged(edit: Edit):
    world = World(reads)
    for at, text in enumerate(MESSAGES * 2):
        world.say(world.act(f"{text} {at}", scope=ALICE), "Kestrel", by=("bob", "eve")[at % 2])
    said = world.say(world.act("hello there", scope=ALICE, choices=None), "words", Signal.TEXT, by="bob")
    return world.judge(edit, said).verdict


def test_a_skill_needs_an_observed_activation() -> None:
    never = judged(skill(trigger="Translate user interfaces into French."))
    assert never.decision == "defer"
    assert "was not shown" in never.reason
    read = judged(skill())
    assert "was not shown" not in read.reason
    assert read.fixes >= 6


def test_a_line_of_the_index_may_take_little_and_a_body_as_much_as_the_core() -> None:
    assert "more than the" in judged(skill(trigger="parcel " * 500)).reason
    assert "more than the" not in judged(skill(text="Say Kestrel. " * 300)).reason
    assert "more than the" in judged(skill(text="Say Kestrel. " * 1_000)).reason
