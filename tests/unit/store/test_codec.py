"""Domain values ↔ columns."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenspace.domain import (
    Attempt,
    Canary,
    Case,
    Drop,
    Edit,
    Entry,
    Episode,
    Feedback,
    GraderSpec,
    Heads,
    Kind,
    Message,
    Origin,
    Outcome,
    Patch,
    Put,
    Request,
    Run,
    Scope,
    Signal,
    Status,
    ToolCall,
    Usage,
    Verdict,
    new_id,
)  # fmt: skip
from tokenspace.store import border, codec

SCOPE = Scope(agent="a")
AT = datetime(2026, 1, 2, tzinfo=UTC)


@given(
    st.one_of(
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        st.text("0123456789abcdef", min_size=30, max_size=34),
    )
)
def test_ids_of_any_kind_survive_packing(id):
    assert codec.unpack_id(codec.pack_id(id)) == id


@given(
    st.lists(
        st.one_of(st.text(string.hexdigits, max_size=120), st.just("0f" * 16), st.uuids().map(lambda each: each.hex))
    )
)
def test_lists_of_ids_keep_their_order(ids):
    assert codec.unpack_ids(codec.pack_ids(ids)) == tuple(ids)


def test_no_two_ids_pack_alike():
    ids = ["", "a" * 14, "a" * 15, "a" * 16, "a" * 17, "a" * 32, "A" * 32, "a" * 31, "g" * 32, bytes(range(16)).hex()]
    assert len({codec.pack_id(id) for id in ids}) == len(ids)


@given(st.datetimes(timezones=st.timezones()))
def test_times_keep_the_millisecond_and_come_back_in_utc(at):
    try:
        kept = codec.unpack_time(codec.pack_time(at))
    except OverflowError:  # within a day of the calendar's ends
        return
    assert timedelta(0) <= at - kept < timedelta(milliseconds=1)
    assert kept.tzinfo == UTC


def test_json_leaves_out_defaults_and_reads_back_every_noun():
    call = ToolCall(id="1", name="n", arguments="{}")
    request = Request(messages=(Message(role="user", text="é"), Message(role="assistant", text="", tool_calls=(call,))),
                      tools=({"a": [1]},), choices=("x", "y"), schema={"type": "string"})  # fmt: skip
    entry = Entry(
        id=new_id(), kind=Kind.SKILL, doc="d", text="t", status=Status.DRAFT, origin=Origin.WEB, valid_until=AT
    )
    edit = Edit(
        ops=(
            Put(entry=entry),
            Patch(id="p", changes={"origin": Origin.TOOL, "valid_until": AT, "odd": [1]}),
            Drop(id="d"),
        )
    )
    verdict = Verdict(decision="reject", basis="tested", reason="r", e_benefit=float("inf"), usage=Usage(calls=2))
    for value in (
        verdict, edit, request, Heads(tenant="t"), Outcome(key="k", case="c", run=Run(output="o", usage=Usage(usd=0.5))),
        Attempt(scope=SCOPE, key="k", proposer="p", heads=Heads(), edit=edit, verdict=verdict, at=AT),
        Episode(scope=SCOPE, heads=Heads(), request=request, run=Run(output="o"), at=AT),
        Feedback(scope=SCOPE, episode="e", principal="p", signal=Signal.SCORE, value=1.0, expects=GraderSpec(name="g"), at=AT),
        Case(scope=SCOPE, request=request, grader=GraderSpec(name="g", expected=[1, None]), cluster="c", at=AT),
    ):  # fmt: skip
        given_fields = {
            name: getattr(value, name) for name in ("scope", "at") if name in codec.field_names(type(value))
        }
        text = codec.dumps(value, skip=frozenset(given_fields))
        assert codec.loads(type(value), text, **given_fields) == value
    assert codec.dumps(Verdict()) == "{}"


@pytest.mark.parametrize("value", [True, 1, 1.0, 0, False, "1"])
def test_a_value_keeps_its_type(value):
    feedback = Feedback(scope=SCOPE, episode="e", principal="p", signal=Signal.LABEL, value=value, at=AT)
    skip = frozenset({"scope", "at"})
    read = codec.loads(Feedback, codec.dumps(feedback, skip=skip), scope=SCOPE, at=AT)
    assert type(read.value) is type(value)


def test_defaults_of_what_is_stored_do_not_change():
    """Fields at their default are not written, so a new default would change what old stores say.

    If this fails: keep the old default, or write a migration.
    """
    assert repr(Verdict()) == (
        "Verdict(decision='defer', basis='policy', reason='', gate='', tier=0, fixes=0, breaks=0, pairs=0, "
        "e_benefit=1.0, e_futility=1.0, e_harm=1.0, usage=Usage(calls=0, input_tokens=0, output_tokens=0, "
        "cached_tokens=0, usd=0.0), cases=(), differences=(), support=0, share=1.0, model='', "
        "tested='', e_before=1.0, withdrawn=False)"
    )
    assert (
        repr(Run(output=""))
        == f"Run(output='', messages=(), tool_calls=(), usage={Usage()!r}, latency_s=0.0, model='', error='')"
    )
    assert (
        repr(Request(messages=())) == "Request(messages=(), tools=(), choices=None, schema=None, max_output_tokens=256)"
    )
    assert repr(Edit(ops=())) == "Edit(ops=(), rationale='', evidence=(), read=())"
    assert repr(Heads()) == "Heads(base=None, tenant=None, user=None)"
    assert repr(Message(role="user", text="")) == "Message(role='user', text='', tool_calls=(), tool_call_id=None)"
    assert repr(ToolCall(id="", name="", arguments="")).endswith("result=None)")
    assert repr(Entry(id="", kind=Kind.FACT, doc="", text="")).endswith(
        "trigger=None, origin=<Origin.UNKNOWN: 0>, status=<Status.ACTIVE: 'active'>, pos=0, valid_until=None, supersedes=None, key='', valid_from=None)"
    )
    assert dict(GraderSpec(name="").options) == {}
    assert GraderSpec(name="").expected is None
    feedback = Feedback(id="", scope=SCOPE, episode="", principal="", signal=Signal.TEXT, value="", at=AT)
    assert (feedback.comment, feedback.trigger, feedback.source, feedback.expects) == ("", None, Origin.USER, None)
    case = Case(scope=SCOPE, request=Request(messages=()), grader=GraderSpec(name=""), cluster="", at=AT)
    assert (case.sources, case.principal, case.pinned, case.split, case.recorded) == ((), "", False, "replay", ())
    canary = Canary(scope=SCOPE, branch="", revision="", share=0.5, rate=0.5, at=AT)
    assert (canary.state, canary.promoted, canary.reason) == ("trial", None, "")


def test_differences_take_two_bytes_where_they_are_whole_and_come_back_as_floats():
    verdict = Verdict(differences=(0.0, 1.0, -1.0, -0.0, 1 / 3, float("inf")))
    text = codec.dumps(verdict)
    assert text == '{"differences":[0,1,-1,0,0.3333333333333333,Infinity]}'
    read = codec.loads(Verdict, text)
    assert read == verdict
    assert {type(number) for number in read.differences} == {float}


def test_numbers_of_an_older_verdict_read_as_they_were_meant():
    old = '{"tier":2,"fixes":4,"pairs":5,"e_benefit":5.3,"usage":{"calls":13}}'
    read = codec.loads(Verdict, old)
    assert read == Verdict(tier=2, fixes=4, pairs=5, e_benefit=5.3, usage=Usage(calls=13))
    assert codec.dumps(read) == old


def test_numbers_of_enumerations_do_not_change():
    told = ["instruction", "rule", "fact", "example", "tool_note", "skill", "tool", "renderer"]
    assert [kind.value for kind in codec.KINDS] == told
    assert [status.value for status in codec.STATUSES] == ["active", "draft", "quarantined", "retired"]
    assert codec.BASES == ("tested", "human", "policy")
    assert set(codec.KINDS) == set(Kind)
    assert set(codec.STATUSES) == set(Status)
    effects = [("HIDDEN", 0), ("DROPPED", 1), ("RESTORED", 2), ("ERASED", 3)]
    assert [(effect.name, effect.value) for effect in codec.Effect] == effects


def test_the_quick_way_to_json_and_the_standard_library_s_read_back_alike(monkeypatch):
    strange = ('é\n"\\', "\x7f\u2028", "null", "")
    values = [
        Episode(scope=SCOPE, heads=Heads(base="b"), request=Request(messages=(Message(role="user", text=text),),
                tools=({"a": [1, 2.5, True, {"b": text}]},)), run=Run(output=text), at=AT)
        for text in strange
    ]  # fmt: skip
    skip = frozenset({"scope", "at"})
    quick = [codec.dumps(value, skip=skip) for value in values]
    monkeypatch.setattr(codec, "orjson", None)
    assert [codec.dumps(value, skip=skip) for value in values] == quick
    assert [codec.loads(Episode, text, scope=SCOPE, at=AT) for text in quick] == values


def test_what_the_quick_way_cannot_say_is_said_by_the_standard_library():
    tools = ({"long": 2**70, "none": None, "odd": float("inf")},)
    request = Request(messages=(Message(role="user", text="t"),), tools=tools)
    assert codec.loads(Request, codec.dumps(request)) == request


@given(st.text(max_size=20))
def test_json_that_is_plain_holds_no_text_that_a_store_refuses(text):
    body = codec.dumps(Message(role="user", text=text))
    if border.is_plain(body):
        border.check("message", text)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x" * 1_000_001])
def test_json_of_a_text_that_a_store_refuses_is_not_plain(bad):
    assert not border.is_plain(codec.dumps(Message(role="user", text=bad)))


def test_what_was_read_is_read_again_only_once_it_was_forgotten():
    codec.forget()
    text = codec.dumps(Run(output="o", usage=Usage(usd=0.5)))
    assert codec.loads(Run, text) == codec.loads(Run, text)
    assert codec.told(Run, text) is codec.told(Run, text)
    known = codec.told(Run, text)
    codec.forget()
    assert codec.told(Run, text) is not known
    long = codec.dumps(Run(output="o" * codec.REMEMBERED_CHARS))
    assert codec.told(Run, long) is not codec.told(Run, long)
    assert codec.loads(Run, long).output == "o" * codec.REMEMBERED_CHARS
