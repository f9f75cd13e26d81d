"""Markdown out and in: what a person sees, and what each kind of change to it means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tokenspace.context import apply, from_markdown, from_single_text, single_text, to_markdown
from tokenspace.context.markup import Names, decode, encode
from tokenspace.domain import Blame, Context, Drop, Entry, Heads, Kind, Layer, Origin, Patch, Put, Scope, Status
from tokenspace.errors import BadData

SCOPE = Scope(agent="desk")
UNTIL = datetime(2030, 12, 31, tzinfo=UTC)


def entry(id: str, text: str = "be kind", kind: Kind = Kind.RULE, doc: str = "rules", **more) -> Entry:
    return Entry(**{"id": id, "kind": kind, "doc": doc, "text": text, "origin": Origin.USER, **more})


def context(*entries: Entry) -> Context:
    return Context(scope=SCOPE, heads=Heads(), layers=(Layer(own={one.id: one for one in entries}),))


DESK = context(
    entry("a", "Be kind."),
    entry("b", "Ask for the order number,\n\n  - twice", trigger="a refund\nis asked for", pos=1, status=Status.DRAFT),
    entry("e", "cards", Kind.EXAMPLE, "examples", trigger="Where is my card?"),
    entry("f", "Cards take 5 days.", Kind.FACT, "rules", pos=2, valid_until=UNTIL),
    entry("s", "# Refunds\n\n- ask\n\n## Then\nwait", Kind.SKILL, "skills/refunds", trigger="refunds"),
    entry("t", "Ids are digits.", Kind.TOOL_NOTE, "tools/orders"),
)
RULES = """\
# rules

- Be kind. <!-- #a -->
- **When** a refund <!-- #b draft -->
  is asked for
  **Then** Ask for the order number,

    - twice
- Cards take 5 days. <!-- #f fact until 2030-12-31T00:00:00+00:00 -->
"""
SKILL = """\
# skills/refunds

## Skill <!-- #s -->

**When** refunds

**Then** # Refunds

- ask

## Then
wait
"""


def edited(old: str, new: str, file: str = "rules.md"):
    docs = to_markdown(DESK)
    assert old in docs[file]
    return from_markdown({**docs, file: docs[file].replace(old, new)}, DESK).ops


def test_documents_are_made_to_be_read() -> None:
    docs = to_markdown(DESK)
    assert list(docs) == ["examples.md", "rules.md", "skills/refunds.md", "tools/orders.md"]
    assert docs["rules.md"] == RULES
    assert docs["skills/refunds.md"] == SKILL
    assert docs["examples.md"] == "# examples\n\n- **When** Where is my card? <!-- #e -->\n  **Answer** cards\n"


def test_unchanged_text_is_no_edit() -> None:
    assert from_markdown(to_markdown(DESK), DESK).ops == ()
    assert from_markdown(from_single_text(single_text(DESK)), DESK).ops == ()


def test_windows_line_ends_and_trailing_space_are_no_change() -> None:
    docs = {name: text.replace("\n", " \t\r\n") for name, text in to_markdown(DESK).items()}
    assert from_markdown(docs, DESK).ops == ()


def test_blame_names_revision_author_and_basis_and_reads_back() -> None:
    blame = Blame(entry="a", scope=SCOPE, revision="r17", author="alice --> b", at=UNTIL, decision_basis="tested")
    docs = to_markdown(DESK, blame={"a": blame})
    assert "- Be kind. <!-- #a --> <!-- by alice --&#62; b in r17 tested -->" in docs["rules.md"]
    assert from_markdown(docs, DESK).ops == ()


def test_a_changed_text_is_a_patch_by_its_new_author() -> None:
    assert edited("Be kind.", "Be brief.") == (Patch(id="a", changes={"text": "Be brief.", "origin": Origin.OPERATOR}),)
    assert edited("is asked for", "is wanted") == (
        Patch(id="b", changes={"trigger": "a refund\nis wanted", "origin": Origin.OPERATOR}),
    )


def test_changes_beside_the_text_leave_the_origin() -> None:
    assert edited(" draft", "") == (Patch(id="b", changes={"status": Status.ACTIVE}),)
    assert edited("#a", "#a retired until 2030-12-31") == (
        Patch(id="a", changes={"status": Status.RETIRED, "valid_until": UNTIL}),
    )
    assert edited("fact until 2030-12-31T00:00:00+00:00", "") == (
        Patch(id="f", changes={"kind": Kind.RULE, "valid_until": None}),
    )


def test_a_deleted_entry_is_dropped() -> None:
    assert edited("- Be kind. <!-- #a -->\n", "") == (Drop(id="a"),)


def test_a_deleted_document_drops_its_entries_unless_the_edit_is_partial() -> None:
    docs = {"rules.md": RULES}
    assert {op.id for op in from_markdown(docs, DESK).ops} == {"e", "s", "t"}
    assert from_markdown(docs, DESK, partial=True).ops == ()
    assert {op.id for op in from_markdown({"rules.md": ""}, DESK, partial=True).ops} == {"a", "b", "f"}


def test_a_new_item_is_put_by_its_author_where_it_stands() -> None:
    docs = {**to_markdown(DESK), "rules.md": RULES + "\n- Never\n  guess. <!-- so said Bob -->\n"}
    (op,) = from_markdown(docs, DESK, origin=Origin.USER).ops
    assert isinstance(op, Put)
    new = op.entry
    assert (new.kind, new.doc, new.text, new.origin, new.pos) == (
        Kind.RULE,
        "rules",
        "Never\nguess. <!-- so said Bob -->",
        Origin.USER,
        3,
    )


def test_new_entries_of_any_form() -> None:
    docs = {
        "examples.md": "- **When** Hi\n  **Answer** Hello\n\n* **When** Bye <!-- new draft -->\n\n  **Then** Bye\n",
        "facts.md": "# Facts\n\n- Cards take 5 days.\n<!-- between items -->\n",
        "instructions.md": "## Instruction <!-- new -->\n\nRoute.\n\n## Not a heading of ours\n\n## tool note <!-- new -->\n- x",
    }
    ops = from_markdown(docs, context()).ops
    assert all(isinstance(op, Put) for op in ops)
    assert [(op.entry.kind, op.entry.trigger, op.entry.text, op.entry.status) for op in ops if isinstance(op, Put)] == [
        (Kind.EXAMPLE, "Hi", "Hello", Status.ACTIVE),
        (Kind.EXAMPLE, "Bye", "Bye", Status.DRAFT),
        (Kind.FACT, None, "Cards take 5 days.", Status.ACTIVE),
        (Kind.INSTRUCTION, None, "Route.\n\n## Not a heading of ours", Status.ACTIVE),
        (Kind.TOOL_NOTE, None, "- x", Status.ACTIVE),
    ]


def test_reordering_changes_positions_only() -> None:
    first = RULES.split("\n- ")[1]
    assert first.startswith("Be kind")
    docs = {**to_markdown(DESK), "rules.md": RULES.replace(f"- {first}\n", "") + f"- {first}\n"}
    assert from_markdown(docs, DESK).ops == (Patch(id="a", changes={"pos": 3}),)


def test_moving_to_another_document_changes_the_place_and_the_kind_that_goes_with_it() -> None:
    line = "- Be kind. <!-- #a -->\n"
    docs = {**to_markdown(DESK), "rules.md": RULES.replace(line, ""), "facts.md": line}
    assert from_markdown(docs, DESK).ops == (Patch(id="a", changes={"kind": Kind.FACT, "doc": "facts"}),)


def test_short_names_are_used_where_they_are_unique() -> None:
    near, far = "0" * 20 + "aaaa" + "12345678", "0" * 20 + "bbbb" + "12345678"
    names = Names(context(entry(near), entry(far), entry("x" * 32)))
    assert [names.of(id) for id in (near, far, "x" * 32)] == ["aaaa12345678", "bbbb12345678", "x" * 8]
    assert names.resolve("12345678") is None


def test_a_whole_id_is_never_taken_for_the_end_of_another() -> None:
    one, other = "12345678", "f" * 24 + "12345678"
    names = Names(context(entry(one), entry(other)))
    assert names.resolve(names.of(one)) == one
    assert names.resolve(names.of(other)) == other


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("hello", "line 1: this belongs to no entry", "indent"),
        ("- a\nb", "line 2: this belongs to no entry", "indent"),
        ("- a\n## Skill", "line 2: this belongs to no entry", "says: new"),
        ("\n- a <!-- #zzz -->", "line 2: there is no entry #zzz", "remove its comment"),
        ("- a <!-- #a -->\n- b <!-- #a -->", r"line 2: #a stands in rules.md, line 1", "copy"),
        ("- a <!-- #a drft -->", "line 1: 'drft' says nothing", "draft"),
        ("- a <!-- #a until -->", "line 1: a date is missing", "2030-12-31"),
        ("- a <!-- #a until soon -->", "line 1: 'soon' is no date", "2030-12-31"),
        ("- **When** x\n  y", "line 1: nothing follows", "Then"),
        ("- **When**\n  **Then** y", "line 1: the part after .* is empty", "leave it out"),
        ("-", "line 1: the text is empty", "leave it out"),
        ("- a\0b", "line 1: the text holds a NUL byte", "remove"),
        ("## Novel <!-- new -->", "line 1: 'Novel' is no kind", "Tool note"),
    ],
)
def test_what_cannot_be_read_is_refused_with_line_and_hint(text, where, hint) -> None:
    with pytest.raises(BadData, match=rf"rules.md, {where}") as caught:
        from_markdown({"rules.md": text}, DESK)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["rules", "../rules.md", "/rules.md", ".md", "a\n.md"])
def test_unusable_names_of_documents_are_refused(name) -> None:
    with pytest.raises(BadData, match="no usable name"):
        from_markdown({name: "- a"}, DESK)


def test_single_text_has_every_document_and_keeps_line_numbers() -> None:
    text = single_text(DESK)
    assert [line for line in text.split("\n") if line.startswith("# file:")] == [
        f"# file: {name}" for name in to_markdown(DESK)
    ]
    number = text[: text.index("- Be kind.")].count("\n") + 1
    with pytest.raises(BadData, match=rf"rules.md, line {number}: "):
        from_markdown(from_single_text(text.replace("- Be kind.", "Be kind.")), DESK)


def test_single_text_of_nothing_reads_back() -> None:
    assert from_markdown(from_single_text(single_text(context())), context()).ops == ()


@pytest.mark.parametrize(
    ("text", "words"), [("- a", "line 1: text before"), ("# file: a.md\n# file: a.md", "line 2: a second a.md")]
)
def test_single_text_that_cannot_be_read_is_refused(text, words) -> None:
    with pytest.raises(BadData, match=words):
        from_single_text(text)


def test_hidden_characters_are_made_visible() -> None:
    assert encode("a\u202eb\u200b\x1b[0m\U000e0041") == "a&#8238;b&#8203;&#27;[0m&#917569;"


@pytest.mark.parametrize(
    "text", ["&#39;", "&#9999999;", "&amp;", "&", "&#", "# file: x", "**When** x", "a\n**Then** b", "\n", ""]
)
def test_texts_that_look_like_the_form_survive(text) -> None:
    assert decode(encode(text)) == text


def test_a_hand_edit_applies() -> None:
    docs = to_markdown(DESK)
    docs["rules.md"] = docs["rules.md"].replace("Be kind.", "Be brief.") + "- New.\n"
    after = apply(DESK, from_markdown(docs, DESK))
    again = to_markdown(after)["rules.md"]
    assert "- Be brief. <!-- #a -->" in again
    assert from_markdown(to_markdown(after), after).ops == ()


def test_a_long_line_of_spaces_is_read_in_linear_time() -> None:
    text = "x" + " " * 300_000 + "<!-" + " " * 300_000 + "y"
    (op,) = from_markdown({"rules.md": f"- {text}"}, context()).ops
    assert isinstance(op, Put)
    assert op.entry.text == text
