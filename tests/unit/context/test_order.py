"""Positions that make a wanted order."""

from __future__ import annotations

from tokenspace.context.order import positions
from tokenspace.domain import Entry, Kind


def at(id: str, pos: int, doc: str = "rules") -> Entry:
    return Entry(id=id, kind=Kind.RULE, doc=doc, text="t", pos=pos)


def test_what_is_in_order_keeps_its_positions() -> None:
    assert positions("rules", [at("a", 0), at("b", 0), at("c", 5)]) == [0, 0, 5]


def test_new_ones_go_before_between_and_after() -> None:
    assert positions("rules", [None, at("a", 0), None, at("b", 5), None, None]) == [-1, 0, 1, 5, 6, 7]


def test_only_what_moved_changes() -> None:
    assert positions("rules", [at("c", 20), at("a", 0), at("b", 10)]) == [-1, 0, 10]


def test_without_room_the_document_is_numbered_anew() -> None:
    assert positions("rules", [at("a", 0), None, at("b", 0)]) == [10, 20, 30]


def test_an_entry_of_another_document_is_placed_like_a_new_one() -> None:
    assert positions("rules", [at("a", 3), at("x", 0, doc="facts")]) == [3, 4]


def test_new_documents_count_from_zero() -> None:
    assert positions("rules", [None, None]) == [0, 1]
    assert positions("rules", []) == []
