"""What a person is shown of a change."""

from __future__ import annotations

from datetime import UTC, datetime

from tokenspace.context import diff_text
from tokenspace.domain import Context, Entry, Heads, Kind, Layer, Origin, Scope, Status


def entry(id: str, text: str, kind: Kind = Kind.RULE, doc: str = "rules", **more) -> Entry:
    return Entry(id=id, kind=kind, doc=doc, text=text, **more)


def context(*entries: Entry) -> Context:
    return Context(scope=Scope(agent="desk"), heads=Heads(), layers=(Layer(own={one.id: one for one in entries}),))


def test_no_change_is_no_text() -> None:
    same = context(entry("a", "x"))
    assert diff_text(same, same) == ""


def test_changes_are_shown_by_document_in_order() -> None:
    before = context(
        entry("a", "one\ntwo\nthree\nfour"), entry("b", "gone"), entry("c", "moved"), entry("d", "same", doc="other")
    )
    after = context(
        entry("a", "one\ntwo\nTHREE\nfour"),
        entry("c", "moved", doc="facts"),
        entry("d", "same", doc="other"),
        entry("e", "cards", Kind.EXAMPLE, "examples", trigger="Where?"),
    )
    assert diff_text(before, after) == (
        "examples.md\n+ When Where?\n+ Answer cards\n"
        "facts.md\n+ moved\n+ (rule)\n"
        "rules.md\n  two\n- three\n+ THREE\n  four\n- gone\n- moved\n"
    )


def test_what_is_special_about_an_entry_is_shown() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    before = context(entry("a", "x"))
    after = context(entry("a", "x", status=Status.RETIRED, valid_until=until))
    assert diff_text(before, after) == "rules.md\n  x\n+ (retired, until 2030-01-01T00:00:00+00:00)\n"


def test_changes_that_cannot_be_read_in_the_text_are_told() -> None:
    before = context(entry("a", "x"), entry("b", "When q\nThen r"))
    after = context(entry("a", "x", pos=3, origin=Origin.USER), entry("b", "r", trigger="q"))
    assert diff_text(before, after) == (
        "rules.md\n"
        "  Then r\n- (text When q\n- Then r, trigger None)\n+ (text r, trigger q)\n"
        "  x\n- (origin unknown, pos 0)\n+ (origin user, pos 3)\n"
    )


def test_control_characters_are_escaped() -> None:
    assert "\x1b" not in diff_text(context(), context(entry("a", "\x1b[2J")))
