"""Edits on layers: semantics, conflicts, taking back, identity, and the stamp of origin."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tokenspace import context as contexts
from tokenspace.context import (
    apply,
    apply_layer,
    difference,
    edit_key,
    inherited,
    invert,
    merge,
    new_texts,
    revert_ops,
    stamp,
    without,
)
from tokenspace.domain import (
    Context,
    Drop,
    Edit,
    Entry,
    Evidence,
    Feedback,
    Heads,
    Kind,
    Layer,
    Origin,
    Patch,
    Put,
    Restore,
    Scope,
    Signal,
    Status,
)
from tokenspace.errors import EditConflict, InvalidEdit

USER = Scope(agent="desk", tenant="acme", user="alice")
AT = datetime(2030, 1, 1, tzinfo=UTC)


def rule(id: str, text: str = "be kind", **more) -> Entry:
    return Entry(**{"id": id, "kind": Kind.RULE, "doc": "rules", "text": text, "origin": Origin.USER, **more})


def layer(*entries: Entry, hidden: tuple[str, ...] = ()) -> Layer:
    return Layer(own={entry.id: entry for entry in entries}, hidden=frozenset(hidden))


def context(*layers: Layer, vectors=None) -> Context:
    return Context(scope=USER, heads=Heads(), layers=layers, vectors=vectors or {})


def edit(*ops, **more) -> Edit:
    return Edit(ops=ops, **more)


def test_all_names_are_exported() -> None:
    assert sorted(contexts.__all__) == list(contexts.__all__)
    assert all(hasattr(contexts, name) for name in contexts.__all__)


def test_lower_layers_override_and_hide() -> None:
    layers = layer(rule("a"), rule("b")), layer(rule("a", "tenant's")), layer(hidden=("b",))
    assert {id: entry.text for id, entry in merge(layers).items()} == {"a": "tenant's"}
    assert inherited(context(*layers)).keys() == {"a", "b"}


def test_put_adds_overrides_and_shows_again_what_was_hidden() -> None:
    base = {"a": rule("a")}
    after = apply_layer(layer(hidden=("a",)), edit(Put(entry=rule("a", "mine"))), base)
    assert (after.own["a"].text, after.hidden) == ("mine", frozenset())


def test_patching_an_inherited_entry_overrides_it_in_the_last_layer_only() -> None:
    before = context(layer(rule("a")), layer(), layer())
    after = apply(before, edit(Patch(id="a", changes={"text": "be brief"})))
    assert after.by_id["a"].text == "be brief"
    assert after.layers[0] == before.layers[0]
    assert after.layers[2].own.keys() == {"a"}


def test_drop_deletes_an_own_entry_and_hides_an_inherited_one() -> None:
    before = context(layer(rule("a")), layer(rule("a", "mine"), rule("b")))
    after = apply(before, edit(Drop(id="a"), Drop(id="b")))
    assert after.layers[1] == Layer(hidden=frozenset({"a"}))
    assert not after.by_id


def test_restore_takes_back_overrides_and_tombs() -> None:
    before = context(layer(rule("a"), rule("b")), layer(rule("a", "mine"), hidden=("b",)))
    after = apply(before, edit(Restore(id="a"), Restore(id="b")))
    assert after.layers[1] == Layer()
    assert after.by_id["a"].text == "be kind"


@pytest.mark.parametrize("op", [Patch(id="x", changes={"pos": 1}), Drop(id="x"), Restore(id="x"), Drop(id="hidden")])
def test_an_operation_that_finds_nothing_is_a_conflict_with_a_hint(op) -> None:
    with pytest.raises(EditConflict) as caught:
        apply_layer(layer(hidden=("hidden",)), edit(op), {"hidden": rule("hidden")})
    assert caught.value.hint


def test_a_patch_of_unknown_fields_is_invalid() -> None:
    with pytest.raises(InvalidEdit, match="colour"):
        apply_layer(layer(rule("a")), edit(Patch(id="a", changes={"colour": "red"})), {})


def test_vectors_follow_the_texts_that_they_are_of() -> None:
    before = context(layer(*(rule(id) for id in "abcd")), vectors={id: id.encode() for id in "abcd"})
    after = apply(
        before,
        edit(
            Patch(id="a", changes={"text": "new"}),
            Drop(id="b"),
            Patch(id="c", changes={"pos": 7}),
            Put(entry=rule("e")),
        ),
        vectors={"e": b"E", "gone": b"G"},
    )
    assert after.vectors == {"c": b"c", "d": b"d", "e": b"E"}


def test_new_texts_are_what_would_read_otherwise() -> None:
    before = context(layer(rule("a"), rule("b"), rule("c")), layer(rule("c", "mine")))
    found = new_texts(
        before,
        edit(
            Put(entry=rule("n", "new")),
            Patch(id="a", changes={"status": Status.RETIRED}),
            Patch(id="b", changes={"trigger": "refunds"}),
            Restore(id="c"),
        ),
    )
    assert [(entry.id, entry.text, entry.trigger) for entry in found] == [
        ("b", "be kind", "refunds"),
        ("c", "be kind", None),
        ("n", "new", None),
    ]


def test_new_texts_of_an_edit_that_does_not_apply_are_none() -> None:
    assert new_texts(context(layer()), edit(Drop(id="x"))) == []


def test_difference_is_canonical_and_sorted() -> None:
    base = {"a": rule("a"), "b": rule("b"), "d": rule("d")}
    before = layer(rule("d", "mine"), rule("z"), hidden=("b",))
    after = layer(rule("c"), hidden=("a",))
    assert difference(before, after, base) == (
        Drop(id="a"),
        Restore(id="b"),
        Put(entry=rule("c")),
        Restore(id="d"),
        Drop(id="z"),
    )


def test_invert_says_what_it_takes_back() -> None:
    assert invert(edit(Put(entry=rule("a")), rationale="why"), layer(), {}).rationale == "takes back: why"


def test_revert_keeps_what_was_changed_elsewhere_since() -> None:
    before, after = layer(rule("a")), layer(rule("a", "bad"), rule("b"))
    now = layer(rule("a", "bad"), rule("b"), rule("c"))
    assert revert_ops(before, after, now, {}) == (Put(entry=rule("a")), Drop(id="b"))


def test_revert_of_what_was_taken_back_already_does_nothing() -> None:
    assert revert_ops(layer(), layer(rule("a")), layer(), {}) == ()


def test_revert_names_the_entries_that_were_changed_since() -> None:
    with pytest.raises(EditConflict, match=r"changed again since: a$") as caught:
        revert_ops(layer(), layer(rule("a"), rule("b")), layer(rule("a", "other"), rule("b")), {})
    assert "revert the later revisions" in caught.value.hint


def test_without_removes_entries_from_all_layers() -> None:
    assert without(context(layer(rule("a")), layer(rule("a", "mine"), rule("b"))), {"a"}).by_id.keys() == {"b"}


def test_edit_key_ignores_new_ids_places_origins_order_and_white_space() -> None:
    one = edit(Put(entry=rule("a", "be  kind")), Drop(id="x"), rationale="one")
    other = edit(Drop(id="x"), Put(entry=rule("b", "be kind\n", pos=4, origin=Origin.AGENT)), rationale="other")
    assert edit_key(one) == edit_key(other)


@pytest.mark.parametrize(
    "other",
    [
        Put(entry=rule("a", "be brief")),
        Put(entry=rule("a", trigger="refunds")),
        Put(entry=rule("a", doc="tone")),
        Put(entry=rule("a", kind=Kind.FACT)),
        Patch(id="a", changes={"text": "be kind"}),
        Drop(id="a"),
        Restore(id="a"),
    ],
)
def test_edit_key_tells_changes_apart(other) -> None:
    assert edit_key(edit(Put(entry=rule("a")))) != edit_key(edit(other))


def evidence(*sources: Origin, entries: tuple[Entry, ...] = ()) -> Evidence:
    feedback = tuple(
        Feedback(scope=USER, episode="e", principal="p", signal=Signal.TEXT, value="v", source=source, at=AT)
        for source in sources
    )
    return Evidence(scope=USER, context=context(layer(*entries)), feedback=feedback, episodes={})


def origin_of(stamped: Edit) -> Origin:
    (op,) = stamped.ops
    return op.entry.origin if isinstance(op, Put) else op.changes["origin"]


def test_i9_a_text_has_the_least_origin_of_all_feedback() -> None:
    made = edit(Put(entry=rule("a", origin=Origin.UNKNOWN)))
    assert origin_of(stamp(made, evidence(Origin.OPERATOR, Origin.USER))) == Origin.USER
    assert origin_of(stamp(made, evidence(Origin.OPERATOR))) == Origin.OPERATOR
    assert origin_of(stamp(made, evidence())) == Origin.UNKNOWN


def test_i9_a_claim_of_the_proposer_is_lowered_and_never_raised() -> None:
    assert origin_of(stamp(edit(Put(entry=rule("a", origin=Origin.OPERATOR))), evidence(Origin.TOOL))) == Origin.TOOL
    assert origin_of(stamp(edit(Put(entry=rule("a", origin=Origin.WEB))), evidence(Origin.USER))) == Origin.WEB


def test_i9_entries_that_were_read_lower_the_origin() -> None:
    seen = evidence(Origin.OPERATOR, entries=(rule("web", origin=Origin.WEB), rule("op", origin=Origin.OPERATOR)))
    made = Put(entry=rule("a", origin=Origin.UNKNOWN))
    assert origin_of(stamp(edit(made, read=("op", "case-7")), seen)) == Origin.OPERATOR
    assert origin_of(stamp(edit(made, read=("op", "web")), seen)) == Origin.WEB


def test_i9_patching_a_text_never_raises_the_origin_that_it_had() -> None:
    seen = evidence(Origin.USER, entries=(rule("web", origin=Origin.WEB),))
    patch = Patch(id="web", changes={"text": "cleaned up", "origin": Origin.OPERATOR})
    assert origin_of(stamp(edit(patch), seen)) == Origin.WEB
    assert origin_of(stamp(edit(Patch(id="web", changes={"origin": Origin.OPERATOR})), seen)) == Origin.WEB
    assert origin_of(stamp(edit(Put(entry=rule("web"))), seen)) == Origin.WEB


def test_i9_changes_that_are_no_text_leave_the_origin_alone() -> None:
    seen = evidence(Origin.WEB, entries=(rule("op", origin=Origin.OPERATOR),))
    made = edit(Patch(id="op", changes={"status": Status.RETIRED}), Drop(id="x"))
    assert stamp(made, seen) == made


def test_i9_to_take_the_place_of_another_entry_takes_an_author() -> None:
    seen = evidence(Origin.WEB, entries=(rule("op", origin=Origin.OPERATOR), rule("old")))
    patch = Patch(id="op", changes={"supersedes": "old"})
    stamped = stamp(edit(patch), seen).ops[0]
    assert (stamped.changes["origin"], stamped.changes["status"]) == (Origin.WEB, Status.QUARANTINED)
    merged = edit(patch, Drop(id="old"))
    assert stamp(merged, seen) == merged, "what the edit drops itself is not hidden by it"


def test_i9_stamping_again_changes_nothing() -> None:
    seen = evidence(Origin.USER, entries=(rule("web", origin=Origin.WEB),))
    once = stamp(edit(Put(entry=rule("a", origin=Origin.UNKNOWN)), read=("web",)), seen)
    assert stamp(once, evidence(Origin.OPERATOR)) == once
