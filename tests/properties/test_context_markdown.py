"""Markdown of contexts that hold hostile texts: what is read back is what was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from operator import attrgetter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenspace.context import apply, diff_text, from_markdown, from_single_text, single_text, to_markdown
from tokenspace.context.markup import decode, encode
from tokenspace.domain import Blame, Context, Entry, Heads, Kind, Layer, Origin, Put, Scope, Status

SETTINGS = settings(max_examples=200)
SCOPE = Scope(agent="a")
PIECES = st.sampled_from(
    [
        "- ", "* ", "  ", " ", "\t", "\n", "\n\n", "\r\n", "\r", "# rules", "## Skill", "## Rule <!-- #a -->", "# file: rules.md",
        "<!-- #a -->", "<!--", "-->", "<!-- new -->", "**When** ", "**When**", "**Then** ", "**Answer**", "&#10;", "&#38;",
        "&#", "&", "```", "\x0b", "\x85", "\u2028", "\ufeff", "\u202e", "word", "é", "退款", "\U0001f600", "\x00", "\ud800",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30)
DOCS = st.sampled_from(["rules", "facts", "examples", "skills/refunds", "tools/t", "instructions", "notes.md", "a b/c"])
TIMES = st.none() | st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 (Hypothesis wants it so)
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
IDS = st.sampled_from(
    [
        "a",
        "b",
        "new",
        "draft",
        "x y>",
        *(f"{prefix}{'0' * 16}{tail}" for prefix in "cd" for tail in ("1" * 12, "2" * 12)),
    ]
)


@st.composite
def contexts(draw) -> Context:
    own = {
        id: Entry(
            id=id,
            kind=draw(st.sampled_from(list(Kind))),
            doc=draw(DOCS),
            text=draw(TEXTS),
            trigger=draw(st.none() | TEXTS),
            status=draw(st.sampled_from(list(Status))),
            origin=draw(st.sampled_from(list(Origin))),
            pos=draw(st.integers(-2, 2)),
            valid_until=draw(TIMES),
            key=draw(st.sampled_from(["", "", "hours", "opening hours", "a --> b", "#x until"])),
            valid_from=draw(TIMES),
        )
        for id in sorted(draw(st.sets(IDS, max_size=5)))
    }
    return Context(scope=SCOPE, heads=Heads(), layers=(Layer(own=own),))


@SETTINGS
@given(contexts())
def test_markdown_reads_back_as_no_change(context) -> None:
    blame = {
        id: Blame(entry=id, scope=SCOPE, revision="r", author="x --> #a", at=datetime.now(UTC), decision_basis="human")
        for id in context.by_id
    }
    assert from_markdown(to_markdown(context), context).ops == ()
    assert from_markdown(to_markdown(context, blame=blame), context).ops == ()
    assert from_markdown(from_single_text(single_text(context)), context).ops == ()


@SETTINGS
@given(contexts())
def test_an_editor_that_strips_space_and_changes_line_ends_changes_nothing(context) -> None:
    def saved(text: str) -> str:
        return "".join(line.rstrip() + "\r\n" for line in text.split("\n"))

    docs = {name: saved(text) for name, text in to_markdown(context).items()}
    assert from_markdown(docs, context).ops == ()


@SETTINGS
@given(contexts())
def test_all_that_is_written_can_be_put_into_an_empty_context(context) -> None:
    usable = {
        id: one for id, one in context.by_id.items() if _kept(one.text) and (one.trigger is None or _kept(one.trigger))
    }
    context = replace(context, layers=(Layer(own=usable),))
    docs = {name: _without_names(text, context) for name, text in to_markdown(context).items()}
    ops = from_markdown(docs, replace(context, layers=(Layer(),))).ops
    read = attrgetter("kind", "doc", "text", "trigger", "status", "valid_until", "key", "valid_from")
    assert [read(op.entry) for op in ops if isinstance(op, Put)] == [read(one) for one in context.entries]


def _kept(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _without_names(text: str, context: Context) -> str:
    return "\n".join(_unnamed(line) for line in text.split("\n"))


def _unnamed(line: str) -> str:
    at = line.rfind("<!-- #")
    return line if at < 0 else f"{line[:at]}<!-- new {line[at:].split(' ', 2)[2]}"


@SETTINGS
@given(contexts(), contexts())
def test_the_difference_is_empty_only_for_equal_contexts(before, after) -> None:
    assert (diff_text(before, after) == "") == (before.by_id == after.by_id)


@SETTINGS
@given(TEXTS)
@example("\n \n")
@example(" ")
def test_encoded_text_has_no_comment_and_no_space_at_risk(text) -> None:
    encoded = encode(text)
    assert decode(encoded) == text
    assert "<!--" not in encoded
    assert not text or (encoded and encoded == encoded.strip())
    assert all(line == line.rstrip() for line in encoded.split("\n"))
    assert encoded.splitlines() == (encoded.split("\n") if encoded else [])


@SETTINGS
@given(contexts(), st.data())
def test_moving_entries_makes_the_order_that_was_written(context, data) -> None:
    shuffled = data.draw(st.permutations(context.entries))
    wanted = {one.id: replace(one, pos=pos) for pos, one in enumerate(shuffled)}
    written = to_markdown(replace(context, layers=(Layer(own=wanted),)))
    after = apply(context, from_markdown(written, context))
    assert to_markdown(after) == written
    assert {id: replace(one, pos=0) for id, one in after.by_id.items()} == {
        id: replace(one, pos=0) for id, one in context.by_id.items()
    }
