"""Skills in a prompt: index, body, further files; what a session keeps; how activations are counted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.context.test_compile import ASK, NOW, PLAIN, compiled, context, entry, reason

from tokenspace.context import core_blocks, recallable, splice, worth_recalling
from tokenspace.context.skills import FLOOR, MOST_OPEN, READ_SKILL, Activation, activation, is_open, opened_by_name
from tokenspace.domain import Entry, Kind, Message, Origin, Profile, Ranked, Request, Run, Signal, Status, ToolCall
from tokenspace.testing.samples import a_feedback, an_episode

READS = Profile(model="m", tokens_per_message=0, reads_skills=True)
BODY = "# Refunds\n\n1. Ask for the order.\n2. Pay back."


def skill(name: str, text: str = BODY, trigger: str | None = "Use for money\n  back.", **more) -> Entry:
    return entry(name, Kind.SKILL, text, trigger=trigger, doc=f"skills/{name}", **more)


def file(name: str, path: str, text: str = "at most 100 euros", **more) -> Entry:
    return entry(f"{name}/{path}", Kind.SKILL, text, doc=f"skills/{name}/{path}", **more)


# ── what is shown ───────────────────────────────────────────────────────────────────────────


def test_the_index_says_name_and_description_on_one_line_and_nothing_of_the_body() -> None:
    prompt = compiled(context(skill("refunds")))
    assert prompt.system == "Skills:\n- refunds: Use for money back."
    assert prompt.messages == ASK.messages
    assert prompt.included == ("refunds",)


def test_the_body_comes_to_the_tail_when_the_description_matches() -> None:
    prompt = compiled(context(skill("refunds")), ("refunds",))
    assert prompt.system == "Skills:\n- refunds: Use for money back."
    assert prompt.messages[-1].text == (
        "Skills for what is asked here:\n```\n- refunds\n  \n  # Refunds\n  \n  1. Ask for the order.\n"
        "  2. Pay back.\n```\n\nWhere is my card?"
    )
    assert prompt.included == ("refunds", "refunds")
    assert prompt.dropped == ()


def test_i5_same_arguments_same_bytes_with_skills() -> None:
    what = context(skill("a"), skill("b"), file("a", "f.md"))
    assert compiled(what, ("a", "b"), profile=READS) == compiled(what, ("a", "b"), profile=READS)


def test_at_most_one_body_is_recalled_and_none_below_the_floor() -> None:
    what = context(*(skill(name) for name in "abc"))
    prompt = compiled(what, ("b", "a", "c"))
    assert [id for id in what.by_id if prompt.included.count(id) > 1] == ["b"][:MOST_OPEN]
    low = [Ranked(id="b", score=FLOOR - 0.01)]
    assert worth_recalling(what, low, ASK, profile=PLAIN, now=NOW) == ()
    assert [one.id for one in worth_recalling(what, [Ranked(id="b", score=FLOOR)], ASK, profile=PLAIN, now=NOW)] == [
        "b"
    ]


def test_i6_a_body_that_does_not_fit_is_left_out_and_its_line_stays() -> None:
    what = context(skill("a", text="x" * 900))
    for budget in range(100, 1_100, 50):
        prompt = compiled(what, ("a",), budget=budget)
        assert prompt.tokens <= budget
        assert prompt.included in (("a",), ("a", "a"))
        assert prompt.dropped == ()
    assert compiled(what, ("a",), budget=1_100).included == ("a", "a")
    assert compiled(what, ("a",), profile=replace(PLAIN, core_tokens=500)).included == ("a",), "as long as a core"


def test_without_a_line_in_the_index_there_is_no_body() -> None:
    what = context(skill("a", trigger="x" * 300))
    prompt = compiled(what, ("a",), profile=replace(PLAIN, core_tokens=200))
    assert prompt.included == ()
    assert reason(prompt, "a") == "over the core budget"


def test_a_skill_without_a_description_has_a_line_only() -> None:
    what = context(skill("a", trigger=None))
    assert compiled(what, ("a",)).system == "Skills:\n- a: Refunds"
    assert compiled(what, ("a",)).included == ("a",)
    assert recallable(what) == []


@pytest.mark.parametrize("status", [Status.QUARANTINED, Status.DRAFT, Status.RETIRED])
def test_a_skill_that_is_not_served_shows_nothing(status: Status) -> None:
    prompt = compiled(context(skill("a", status=status), file("a", "f.md", status=status)), ("a",), profile=READS)
    assert (prompt.system, prompt.messages, prompt.tools, prompt.openable) == ("", ASK.messages, (), ())


@pytest.mark.parametrize("origin", [Origin.UNKNOWN, Origin.WEB, Origin.TOOL])
def test_a_skill_of_low_origin_is_no_skill_nor_its_files(origin: Origin) -> None:
    prompt = compiled(context(skill("a", origin=origin), file("a", "f.md")), ("a",), profile=READS)
    assert (prompt.system, prompt.messages, prompt.openable) == ("", ASK.messages, ())
    prompt = compiled(context(skill("a"), file("a", "f.md", origin=origin)), profile=READS)
    assert [path for path, _ in prompt.openable] == ["a"]


def test_examples_and_notes_still_come_with_a_body() -> None:
    what = context(
        skill("s"), entry("e", Kind.EXAMPLE, "Kestrel", trigger="q"), entry("r", text="Be kind.", trigger="q")
    )
    prompt = compiled(what, ("e", "r", "s"))
    assert prompt.included == ("s", "e", "r", "s")
    text = prompt.messages[-1].text
    assert text.index("Skills for") < text.index("Notes learned") < text.index("Earlier messages")


# ── opened by name ──────────────────────────────────────────────────────────────────────────


def test_an_agent_that_opens_skills_gets_the_tool_with_their_names() -> None:
    what = context(skill("b"), skill("a", "other"), file("a", "limits.md"), file("gone", "x.md"))
    prompt = compiled(what, profile=READS)
    (tool,) = prompt.tools
    assert tool["function"]["name"] == READ_SKILL
    assert tool["function"]["parameters"]["properties"]["name"]["enum"] == ["a", "b"]
    assert prompt.openable == (("a", "other"), ("a/limits.md", "at most 100 euros"), ("b", BODY))
    assert reason(prompt, "a/limits.md") == "opened by name only"
    assert compiled(what).tools == ()
    assert compiled(context(), profile=READS).tools == ()


def test_the_hash_of_a_prompt_says_what_can_be_opened() -> None:
    one, other = (compiled(context(skill("a", text)), profile=READS) for text in ("one", "two"))
    assert one.compiled_hash != other.compiled_hash
    plain = (compiled(context(skill("a", text))) for text in ("one", "two"))
    assert len({prompt.compiled_hash for prompt in plain}) == 1


def test_a_clients_own_tool_of_that_name_is_left_alone() -> None:
    own = {"type": "function", "function": {"name": READ_SKILL}}
    prompt = compiled(context(skill("a")), request=replace(ASK, tools=(own,)), profile=READS)
    assert (prompt.tools, prompt.openable) == ((own,), ())


# ── sessions ────────────────────────────────────────────────────────────────────────────────


def test_i14_a_session_keeps_its_index_and_reads_the_body_as_it_is_now() -> None:
    began = context(skill("a", "old body"), file("a", "f.md", "old file"))
    now = context(
        skill("a", "new body", trigger="Other words."), skill("b"), file("a", "f.md", "new file"), file("a", "g.md")
    )
    prompt = compiled(splice(began, now), ("a", "b"), profile=READS)
    assert prompt.system == compiled(began, profile=READS).system
    assert prompt.tools == compiled(began, profile=READS).tools
    assert prompt.openable == (("a", "new body"), ("a/f.md", "new file"), ("a/g.md", "at most 100 euros"))
    assert "new body" in prompt.messages[-1].text
    assert compiled(splice(began, began), ("a",), profile=READS) == compiled(began, ("a",), profile=READS)


@pytest.mark.parametrize(
    "now", [context(), context(skill("a", status=Status.RETIRED)), context(skill("a", trigger=None))]
)
def test_i14_a_skill_that_is_gone_keeps_its_line_and_has_no_body(now) -> None:
    began = context(skill("a", trigger="# Words of  the line"))
    prompt = compiled(splice(began, now), ("a",))
    assert prompt.system == compiled(began).system
    assert prompt.included == ("a",)


def test_i14_harm_and_erasure_do_not_wait() -> None:
    harm = context(skill("a", status=Status.QUARANTINED))
    assert compiled(splice(context(skill("a")), harm), ("a",)).included == ()
    erased = context(replace(skill("a"), text=""))
    assert compiled(splice(erased, context()), ("a",)).included == ()


def test_the_gateways_blocks_hold_the_index_and_its_tail_the_body() -> None:
    what = context(skill("a"), file("a", "f.md"))
    shared, own, ids = core_blocks(what, profile=PLAIN, now=NOW)
    assert (shared, own, ids) == ("Skills:\n- a: Use for money back.", "", ("a",))
    ranked = [Ranked(id="a", score=1.0)]
    assert [one.id for one in worth_recalling(what, ranked, ASK, profile=PLAIN, now=NOW)] == ["a"]
    assert worth_recalling(what, ranked, ASK, profile=PLAIN, now=NOW, said=("a",)) == ()
    loaded = Request(messages=(Message(role="user", text=f"I loaded this:\n{BODY}"),))
    assert worth_recalling(what, ranked, loaded, profile=PLAIN, now=NOW) == ()


# ── activation ──────────────────────────────────────────────────────────────────────────────


def call(arguments: object, result: str | None = "the body") -> ToolCall:
    said = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id="1", name=READ_SKILL, arguments=said, result=result)


def test_activation_is_counted_apart_from_being_offered_and_judged_by_feedback() -> None:
    what = context(skill("a"), skill("b"), file("a", "f.md"))
    shown = [("a", "b"), ("a", "a", "b"), ("a", "a"), ("b",), ()]
    episodes = [an_episode(id=f"e{n}", shown=ids) for n, ids in enumerate(shown)]
    episodes.append(an_episode(id="e9", shown=("a", "b"), run=Run(output="", tool_calls=(call({"name": "b"}),))))
    said = [
        a_feedback(episode=id, signal=signal, value=value)
        for id, signal, value in [
            ("e0", Signal.LABEL, False), ("e1", Signal.LABEL, True), ("e2", Signal.CORRECTION, "x"),
            ("e9", Signal.SCORE, 0.9), ("e9", Signal.TEXT, "fine"),
        ]
    ]  # fmt: skip
    found = activation(episodes, said, what)
    assert found == {
        "a": Activation(offered=4, activated=2, right=1, wrong=1),
        "b": Activation(offered=4, activated=1, right=1, wrong=0),
    }
    assert found["a"].precision == 0.5
    assert activation(episodes[:1], said, what)["a"].precision is None


@pytest.mark.parametrize(
    "made",
    [call({"name": "a"}, "error: there is no skill 'a'"), call({"name": "a"}, None), call("no json"), call([]),
     call({"name": 7}), call({}), call("[" * 100_000)],
)  # fmt: skip
def test_a_call_that_opened_nothing_is_no_activation(made: ToolCall) -> None:
    assert opened_by_name([made]) == frozenset()


def test_a_line_in_the_index_alone_is_no_activation_for_the_gate() -> None:
    assert not is_open(skill("a"), ("a",))
    assert is_open(skill("a"), ("a", "x", "a"))
    assert is_open(skill("a", trigger=None), ("a",)), "it has nothing but its line"
