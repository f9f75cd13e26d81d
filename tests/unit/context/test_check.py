"""What an edit must satisfy before it is applied to anything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tokenspace.context import is_safe_doc, validate
from tokenspace.domain import MAX_TEXT_BYTES, Drop, Edit, Entry, Kind, Patch, Put, Restore
from tokenspace.errors import InvalidEdit


def put(**more) -> Put:
    return Put(entry=Entry(**{"kind": Kind.RULE, "doc": "rules", "text": "be kind", **more}))


def test_good_edits_pass() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    validate(Edit(ops=(put(valid_until=until), Patch(id="a", changes={"pos": 3}), Drop(id="b"), Restore(id="c"))))


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        ((), "changes nothing"),
        ((Drop(id="a"), Restore(id="a")), "several operations on a"),
        ((Drop(id="a b"),), "no entry id"),
        ((Drop(id=""),), "no entry id"),
        ((Patch(id="a", changes={}),), "changes nothing"),
        ((Patch(id="a", changes={"id": "b"}),), "no field 'id'"),
        ((Patch(id="a", changes={"colour": "red"}),), "no field 'colour'"),
        ((Patch(id="a", changes={"status": "retired"}),), "status of a is str"),
        ((Patch(id="a", changes={"pos": True}),), "pos of a is bool"),
        ((Patch(id="a", changes={"text": " \n"}),), "is empty"),
        ((put(trigger=""),), "trigger .* is empty"),
        ((put(text="a\0b"),), "NUL"),
        ((put(text="\ud800"),), "no valid Unicode"),
        ((put(text="é" * (MAX_TEXT_BYTES // 2 + 1)),), "1,000,002 bytes"),
        ((put(doc="../secrets"),), "no usable place"),
        ((put(valid_until=datetime(2030, 1, 1)),), "no time zone"),  # noqa: DTZ001 (that is the point)
    ],
)
def test_what_could_never_apply_is_refused_with_a_hint(ops, words) -> None:
    with pytest.raises(InvalidEdit, match=words) as caught:
        validate(Edit(ops=ops))
    assert caught.value.hint


@pytest.mark.parametrize("doc", ["rules", "skills/refunds", "tools/get weather.v2", "a-b/c_d", "règles/退款"])
def test_safe_docs(doc) -> None:
    assert is_safe_doc(doc)


@pytest.mark.parametrize(
    "doc", ["", "/etc", "a//b", "a/../b", ".", "a/", "a\n", " a", "a ", "a\\b", "a:b", "<a>", "a" * 200]
)
def test_unsafe_docs(doc) -> None:
    assert not is_safe_doc(doc)
