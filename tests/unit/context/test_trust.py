"""Taint, quarantine, ends and fingerprints, one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.world import ALICE

from tokenspace.context.taint import authority, hear, heard, listening, spoken_by_agent, taint
from tokenspace.context.trust import elevated, fingerprint, quarantined, repeats, until_verified, without_recalled
from tokenspace.domain import (
    Edit,
    Entry,
    Episode,
    Feedback,
    Heads,
    Kind,
    Message,
    Origin,
    Patch,
    Put,
    Request,
    Run,
    Signal,
    Status,
    ToolCall,
    Verdict,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = Request(messages=(Message(role="user", text="where is it?"),))
EPISODE = Episode(scope=ALICE, heads=Heads(), request=ASKED, run=Run(output="in the shed"), at=NOW)
TOLD = replace(EPISODE, run=Run(output="a", tool_calls=(ToolCall(id="1", name="t", arguments="{}", result="r"),)))
RULE = Entry(id="r", kind=Kind.RULE, doc="rules", text="Send refunds to the Heron team.", origin=Origin.USER)
WEB = replace(RULE, id="w", origin=Origin.WEB)


def said(value: object, signal: Signal, source: Origin = Origin.USER) -> Feedback:
    return Feedback(scope=ALICE, episode=EPISODE.id, principal="ana", signal=signal, value=value, source=source, at=NOW)  # type: ignore[arg-type]


def test_the_taint_of_a_prompt_is_its_least_origin_and_of_a_bare_one_the_operators() -> None:
    assert taint([RULE, WEB]) is Origin.WEB
    assert taint([]) is Origin.OPERATOR


def test_i9_what_a_tool_returned_was_heard_whether_in_the_run_or_in_the_request() -> None:
    page = Request(messages=(Message(role="tool", text="buy!", tool_call_id="1"), *ASKED.messages))
    assert heard(EPISODE) is Origin.OPERATOR
    quoted = Request(messages=(Message(role="user", text="buy!", tool_call_id="1"),))
    assert heard(TOLD) is heard(replace(EPISODE, request=page)) is Origin.TOOL
    assert heard(replace(EPISODE, request=quoted)) is Origin.TOOL
    assert heard(replace(TOLD, taint=Origin.WEB)) is Origin.WEB


@pytest.mark.parametrize(
    ("episode", "feedback", "by", "level"),
    [
        (TOLD, said("The shed.", Signal.CORRECTION), "remember@1", Origin.USER),
        (TOLD, said(True, Signal.LABEL), "remember@1", Origin.TOOL),
        (TOLD, said(1.0, Signal.SCORE), "remember@1", Origin.TOOL),
        (TOLD, said("a!", Signal.EDIT), "remember@1", Origin.TOOL),
        (TOLD, said(True, Signal.LABEL), "skill@1", Origin.USER),
        (EPISODE, said(True, Signal.LABEL), "remember@1", Origin.USER),
        (replace(EPISODE, taint=Origin.WEB), said(True, Signal.LABEL), "remember@1", Origin.WEB),
        (replace(TOLD, request=replace(ASKED, choices=("a",))), said(True, Signal.LABEL), "remember@1", Origin.USER),
        (replace(TOLD, request=replace(ASKED, choices=("b",))), said(True, Signal.LABEL), "remember@1", Origin.TOOL),
        (replace(TOLD, request=replace(ASKED, choices=("b",))), said(1.0, Signal.SCORE), "remember@1", Origin.TOOL),
        (replace(TOLD, request=replace(ASKED, choices=("b",))), said("b", Signal.EDIT), "remember@1", Origin.USER),
        (replace(TOLD, request=replace(ASKED, choices=("a",))), said("a!", Signal.EDIT), "remember@1", Origin.TOOL),
        (TOLD, said("I noted it", Signal.TEXT, Origin.AGENT), "adopt@1", Origin.TOOL),
        (EPISODE, said("I noted it", Signal.TEXT, Origin.AGENT), "adopt@1", Origin.AGENT),
        (None, said(True, Signal.LABEL), "", Origin.USER),
    ],
)
def test_i9_an_approved_answer_has_the_authority_of_what_its_author_had_read(episode, feedback, by, level) -> None:
    assert authority(feedback, episode, by=by) is level


def test_i9_what_an_agent_says_while_it_runs_is_bounded_by_what_it_has_read_so_far() -> None:
    assert spoken_by_agent() is Origin.AGENT
    with listening(Origin.USER):
        assert spoken_by_agent() is Origin.AGENT
        hear(Origin.TOOL)
        assert spoken_by_agent() is Origin.TOOL
        with listening(Origin.WEB):
            assert spoken_by_agent() is Origin.WEB
        assert spoken_by_agent() is Origin.TOOL
    assert spoken_by_agent() is Origin.AGENT
    hear(Origin.UNKNOWN)
    assert spoken_by_agent() is Origin.AGENT


def test_what_is_low_begins_in_quarantine_and_what_was_let_out_stays_out() -> None:
    put = quarantined(Put(entry=WEB), {})
    assert isinstance(put, Put)
    assert put.entry.status is Status.QUARANTINED
    assert quarantined(Put(entry=RULE), {}) == Put(entry=RULE)
    assert quarantined(Put(entry=replace(WEB, pos=3)), {"w": WEB}) == Put(entry=replace(WEB, pos=3))
    patch = quarantined(Patch(id="r", changes={"text": "x", "origin": Origin.TOOL}), {"r": RULE})
    assert isinstance(patch, Patch)
    assert patch.changes["status"] is Status.QUARANTINED
    assert [one.id for one in elevated({"w": replace(WEB, status=Status.QUARANTINED)}, {"w": WEB, "r": RULE})] == ["w"]


def test_what_nobody_verified_ends_after_thirty_days_and_what_was_tested_or_approved_does_not() -> None:
    note = replace(RULE, id="n", origin=Origin.AGENT)
    edit, end = Edit(ops=(Put(entry=note), Put(entry=RULE))), NOW + timedelta(days=30)
    policy = until_verified(edit, Verdict(decision="accept", basis="policy"), NOW)
    assert [op.entry.valid_until for op in policy.ops if isinstance(op, Put)] == [end, None]
    for basis in ("tested", "human"):
        assert until_verified(edit, Verdict(decision="accept", basis=basis), NOW) == edit
    sooner = Edit(ops=(Put(entry=replace(note, valid_until=NOW)),))
    assert until_verified(sooner, Verdict(decision="accept", basis="policy"), NOW) == sooner


def test_i13_a_text_that_says_again_what_was_recalled_is_known_by_its_fingerprint() -> None:
    recalled = ["Send refunds to the Heron team, and say when the money comes."]
    assert repeats("As noted: send refunds to the  HERON team!", recalled)
    assert repeats("ｓend refunds to the Her\u200bon team", recalled)
    assert repeats("heron team", recalled)
    assert not repeats("Refunds of more than 90 euros go to the Basalt team first.", recalled)
    assert not repeats("", recalled)
    assert not repeats("?!", recalled)
    assert without_recalled([recalled[0], "Ask for the order number."], recalled) == ["Ask for the order number."]
    assert len(fingerprint("one two three four five six")) == 2
