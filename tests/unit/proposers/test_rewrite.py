"""One instruction rewritten, with its placeholders and within bounds, whatever a model answers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.proposers.answers import asker, check_harmless, hostile, spoiled
from tests.unit.proposers.cluster import INSTRUCTION, SHARED, cluster, propose, rejected

from tokenspace.context import apply, inherited, stamp
from tokenspace.domain import Kind, Layer, Origin, Patch
from tokenspace.errors import InvalidEdit
from tokenspace.proposers import Rewrite
from tokenspace.proposers.rewrite import GROWTH_CHARS, MOST_CHARS, most_chars, placeholders

TEXT = INSTRUCTION.text + " Refunds go to Kestrel."
GOOD = {"diagnosis": "It did not know the team.", "text": TEXT, "because": ["f1"]}


def test_it_overrides_an_inherited_instruction_in_this_scope_only() -> None:
    shown = cluster()
    edit = propose(Rewrite(asker(GOOD)), shown)
    assert edit.ops == (Patch(id=INSTRUCTION.id, changes={"text": TEXT, "origin": Origin.AGENT}),)
    after = apply(shown.context, stamp(edit, shown))
    assert after.by_id[INSTRUCTION.id].text == TEXT
    assert inherited(after)[INSTRUCTION.id] == INSTRUCTION
    assert INSTRUCTION.id in edit.read
    assert set(edit.evidence) == {shown.feedback[0].episode, shown.feedback[0].id}


def test_it_sees_the_whole_instruction_and_what_was_tried_with_instructions() -> None:
    asked = asker(GOOD)
    tried = [rejected("A rule."), rejected("An instruction.", kind=Kind.INSTRUCTION)]
    propose(Rewrite(asked), cluster(rejected=tried))
    told = json.loads(asked.model.prompts[0].messages[0].text)
    assert told["instruction"] == INSTRUCTION.text
    assert [one["operations"][0]["text"] for one in told["rejected"]] == ["An instruction."]


def test_an_own_instruction_comes_before_an_inherited_one() -> None:
    shown = cluster()
    own = replace(SHARED, kind=Kind.INSTRUCTION, origin=Origin.USER)
    layers = (*shown.context.layers[:2], Layer(own={**shown.context.layers[2].own, own.id: own}))
    shown = replace(shown, context=replace(shown.context, layers=layers))
    edit = propose(Rewrite(asker({**GOOD, "text": "Never promise a date or a price."})), shown)
    assert edit.ops[0].id == own.id


def test_without_an_instruction_or_a_cause_there_is_nothing_to_rewrite() -> None:
    asked = asker(GOOD)
    assert propose(Rewrite(asked), cluster(base=(SHARED,))) is None
    shown = cluster()
    fine = [item for item in shown.feedback if item.value is True]
    assert propose(Rewrite(asked), replace(shown, feedback=fine)) is None
    assert asked.model.prompts == ()
    assert propose(Rewrite(asker({**GOOD, "text": None, "because": []})), shown) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (INSTRUCTION.text, "what it was"),
        (INSTRUCTION.text.replace(" ", "\n"), "what it was"),
        ("Route.", "shrinks"),
        (TEXT.replace("{customer}", "the customer"), "lacks placeholders: {customer}"),
        (TEXT.replace("<team>", "square"), "lacks placeholders: <team>"),
        (TEXT + " Say {{secret}}.", "adds placeholders: {{secret}}"),
        (" \n", "shrinks"),
    ],
)
def test_a_text_that_must_not_take_its_place_is_invalid(text: str, problem: str) -> None:
    with pytest.raises(InvalidEdit, match=problem) as raised:
        propose(Rewrite(asker({**GOOD, "text": text})), cluster())
    assert raised.value.hint


def test_its_length_is_bounded() -> None:
    most = most_chars(INSTRUCTION)
    assert most == len(INSTRUCTION.text) + GROWTH_CHARS
    assert propose(Rewrite(asker({**GOOD, "text": TEXT.ljust(most, "x")})), cluster()) is not None
    with pytest.raises(InvalidEdit, match="'maxLength'"):
        propose(Rewrite(asker({**GOOD, "text": TEXT.ljust(most + 1, "x")})), cluster())
    assert most_chars(replace(INSTRUCTION, text="x" * (MOST_CHARS - 1))) == MOST_CHARS
    assert most_chars(replace(INSTRUCTION, text="x" * (MOST_CHARS + 9))) == MOST_CHARS + 9


def test_it_names_what_caused_it() -> None:
    with pytest.raises(InvalidEdit, match="caused"):
        propose(Rewrite(asker({**GOOD, "because": []})), cluster())
    with pytest.raises(InvalidEdit, match="'enum'"):
        propose(Rewrite(asker({**GOOD, "because": ["s1"]})), cluster())


@pytest.mark.parametrize(
    "text", ["{name}", "{{name}}", "${HOME}", "$HOME", "<tag>", "</tag>", "%(name)s", "%s", "{a.b}", "{}"]
)
def test_placeholders_are_found(text: str) -> None:
    assert placeholders(f"a {text}, b") == {text}


@pytest.mark.parametrize("name", spoiled(GOOD))
def test_what_cannot_be_used_is_invalid(name: str) -> None:
    with pytest.raises(InvalidEdit):
        propose(Rewrite(asker(spoiled(GOOD)[name])), cluster())


@pytest.mark.parametrize("name", hostile(GOOD))
def test_i8_i9_whatever_an_attacker_makes_it_say_is_harmless(name: str) -> None:
    shown = cluster()
    evil = {**GOOD, "text": TEXT + json.loads(hostile({"x": "y"})[name])["x"][:400]}
    for text in (hostile(GOOD)[name], json.dumps(evil)):
        try:
            edit = propose(Rewrite(asker(text)), shown)
        except InvalidEdit:
            continue
        check_harmless(edit, shown)
