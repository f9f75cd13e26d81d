"""Edits on random layers: taking back, differences, merging, identity."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.context import apply_layer, difference, edit_key, invert, merge, revert_ops
from tokenspace.domain import Drop, Edit, Entry, Kind, Layer, Op, Patch, Put, Restore

SETTINGS = settings(max_examples=200)
IDS = st.sampled_from("abcdefgh")
TEXTS = st.sampled_from(["x", "y", "z"])


@st.composite
def entries(draw, id: str) -> Entry:
    return Entry(id=id, kind=draw(st.sampled_from(list(Kind))), doc="d", text=draw(TEXTS), pos=draw(st.integers(0, 2)))


@st.composite
def maps(draw) -> dict[str, Entry]:
    return {id: draw(entries(id)) for id in draw(st.sets(IDS))}


@st.composite
def layers(draw, inherited: dict[str, Entry]) -> Layer:
    own = draw(maps())
    return Layer(own=own, hidden=frozenset(draw(st.sets(IDS)) & inherited.keys() - own.keys()))


def _patch(id: str, text: str) -> Patch:
    return Patch(id=id, changes={"text": text})


@st.composite
def edits(draw, layer: Layer, inherited: dict[str, Entry]) -> Edit:
    """Operations on distinct ids that all apply."""
    ops: list[Op] = []
    for id in draw(st.lists(IDS, unique=True)):
        choices: list[st.SearchStrategy[Op]] = [entries(id).map(lambda one: Put(entry=one))]
        if id in layer.own or (id in inherited and id not in layer.hidden):
            choices += [st.builds(_patch, st.just(id), TEXTS), st.just(Drop(id=id))]
        if id in layer.own or id in layer.hidden:
            choices.append(st.just(Restore(id=id)))
        ops.append(draw(st.one_of(choices)))
    return Edit(ops=tuple(ops))


@SETTINGS
@given(st.data())
def test_i4_what_was_applied_can_be_taken_back_exactly(data) -> None:
    inherited = data.draw(maps())
    before = data.draw(layers(inherited))
    edit = data.draw(edits(before, inherited))
    after = apply_layer(before, edit, inherited)
    assert apply_layer(after, invert(edit, before, inherited), inherited) == before
    assert Edit(ops=revert_ops(before, after, after, inherited)) == Edit(ops=difference(after, before, inherited))


@SETTINGS
@given(st.data())
def test_the_difference_of_two_layers_leads_from_one_to_the_other(data) -> None:
    inherited = data.draw(maps())
    before, after = data.draw(layers(inherited)), data.draw(layers(inherited))
    ops = difference(before, after, inherited)
    assert apply_layer(before, Edit(ops=ops), inherited) == after
    assert difference(after, after, inherited) == ()
    ids = [op.entry.id if isinstance(op, Put) else op.id for op in ops]
    assert ids == sorted(set(ids))


@SETTINGS
@given(st.data())
def test_a_lower_layer_wins(data) -> None:
    base = data.draw(maps())
    lower = data.draw(layers(base))
    merged = merge([Layer(own=base), lower])
    assert merged == {**{id: one for id, one in base.items() if id not in lower.hidden}, **lower.own}


@SETTINGS
@given(st.data())
def test_edit_key_does_not_depend_on_order(data) -> None:
    inherited = data.draw(maps())
    edit = data.draw(edits(data.draw(layers(inherited)), inherited))
    shuffled = Edit(ops=tuple(data.draw(st.permutations(edit.ops))))
    assert edit_key(shuffled) == edit_key(edit)
