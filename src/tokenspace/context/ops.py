"""What edits do to layers: apply, difference, invert, revert; their identity and the stamp of their origin.

A layer's state of one id is one of three: it has an *own* entry, it *hides* the inherited one with a tomb, or it
says nothing and the inherited entry shows. Every operation moves an id between these states.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from tokenspace.context.check import PATCHABLE
from tokenspace.context.taint import authority
from tokenspace.context.transient import dated
from tokenspace.context.trust import quarantined
from tokenspace.domain import Context, Drop, Edit, Entry, Evidence, Layer, Op, Origin, Patch, Put, Restore, digest
from tokenspace.errors import EditConflict, InvalidEdit

# Changes of these fields change what an entry says or what it is used for, and so whose word it is (I9).
_AUTHORED: Final = frozenset({"text", "trigger", "kind", "doc", "key", "valid_from", "supersedes"})


# ── applying ────────────────────────────────────────────────────────────────────────────────


def merge(layers: Sequence[Layer]) -> Mapping[str, Entry]:
    """Entries that show through these layers, by id: a later layer overrides or hides what it inherits."""
    seen: dict[str, Entry] = {}
    for layer in layers:
        for hidden in layer.hidden:
            seen.pop(hidden, None)
        seen.update(layer.own)
    return MappingProxyType(seen)


def inherited(context: Context) -> Mapping[str, Entry]:
    """What the context's last layer inherits, by id."""
    return merge(context.layers[:-1])


def apply_layer(layer: Layer, edit: Edit, inherited: Mapping[str, Entry]) -> Layer:
    """The layer after the edit. Raises `EditConflict` where an operation finds nothing to work on."""
    own, hidden = dict(layer.own), set(layer.hidden)
    for op in edit.ops:
        if isinstance(op, Put):
            own[op.entry.id] = op.entry
            hidden.discard(op.entry.id)
        elif isinstance(op, Patch):
            own[op.id] = _patched(_visible(op.id, own, hidden, inherited), op)
        elif isinstance(op, Drop):
            _visible(op.id, own, hidden, inherited)
            own.pop(op.id, None)
            if op.id in inherited:
                hidden.add(op.id)
        else:
            _restore(op.id, own, hidden)
    return Layer(own=MappingProxyType(own), hidden=frozenset(hidden))


def apply(context: Context, edit: Edit, *, vectors: Mapping[str, bytes] | None = None) -> Context:
    """The context as it would be after an edit of its last layer; its heads stay those that it was made from.

    Vectors of entries that are gone or read otherwise now are left out, and those given are added. Raises
    `EditConflict` where the edit does not apply.
    """
    layer = apply_layer(context.layers[-1], edit, inherited(context))
    after = replace(context, layers=(*context.layers[:-1], layer), vectors={})
    kept = dict(context.vectors)
    for id in touched(edit) & kept.keys():
        if _embedded(after.by_id.get(id)) != _embedded(context.by_id.get(id)):
            del kept[id]
    kept.update({key: vector for key, vector in (vectors or {}).items() if key in after.by_id})
    return replace(after, vectors=MappingProxyType(kept))


def touched(edit: Edit) -> frozenset[str]:
    """The ids of the entries that an edit is about; all others stay as they are."""
    return frozenset(op.entry.id if isinstance(op, Put) else op.id for op in edit.ops)


def new_texts(context: Context, edit: Edit) -> list[Entry]:
    """Entries that would read otherwise after the edit (text, trigger or doc), as they would be, in their order.

    Empty where the edit does not apply: `apply` says why.
    """
    above = inherited(context)
    try:
        layer = apply_layer(context.layers[-1], edit, above)
    except EditConflict:
        return []
    after = {id: above[id] for id in touched(edit) - layer.hidden if id in above}
    after |= {id: layer.own[id] for id in touched(edit) if id in layer.own}
    changed = [entry for id, entry in after.items() if _reads(entry) != _reads(context.by_id.get(id))]
    return sorted(changed, key=lambda entry: entry.order)


def without(context: Context, ids: Collection[str]) -> Context:
    """The context as if these entries were in none of its layers: for rendering, not for edits."""
    layers = tuple(
        replace(layer, own=MappingProxyType({key: entry for key, entry in layer.own.items() if key not in ids}))
        for layer in context.layers
    )
    return replace(context, layers=layers)


def _visible(id: str, own: Mapping[str, Entry], hidden: set[str], inherited: Mapping[str, Entry]) -> Entry:
    found = own.get(id) or (None if id in hidden else inherited.get(id))
    if found is None:
        raise EditConflict(
            f"there is no entry {id} here to change or drop",
            hint="it may have been dropped since the edit was made: look at the context as it is now",
        )
    return found


def _patched(target: Entry, op: Patch) -> Entry:
    unknown = sorted(set(op.changes) - PATCHABLE)
    if unknown:
        raise InvalidEdit(
            f"the patch of {op.id} names unknown fields: {', '.join(unknown)}",
            hint=f"fields that may be patched: {', '.join(sorted(PATCHABLE))}",
        )
    return replace(target, **op.changes)


def _restore(id: str, own: dict[str, Entry], hidden: set[str]) -> None:
    if id not in own and id not in hidden:
        raise EditConflict(
            f"this layer neither overrides nor hides {id}",
            hint="restore takes back an override or a tomb; to take back a restore, put or drop the entry",
        )
    own.pop(id, None)
    hidden.discard(id)


def _embedded(entry: Entry | None) -> tuple[str, str | None] | None:
    return entry and (entry.text, entry.trigger)


def _reads(entry: Entry | None) -> tuple[str, str | None, str] | None:
    return entry and (entry.text, entry.trigger, entry.doc)


# ── taking back ─────────────────────────────────────────────────────────────────────────────

_State = Entry | bool  # an own entry; True: hidden by a tomb; False: this layer says nothing


def difference(before: Layer, after: Layer, inherited: Mapping[str, Entry]) -> tuple[Op, ...]:
    """The canonical operations, sorted by id, that turn one layer into the other: Put, Drop and Restore only.

    A tomb over an id that is not inherited hides nothing and cannot be made by an operation: it is left out.
    """
    ids = sorted(_ids(before) | _ids(after))
    moves = ((key, _state(before, key), _state(after, key)) for key in ids)
    return tuple(op for key, old, new in moves if old != new for op in _move(key, old, new, inherited))


def invert(edit: Edit, before: Layer, inherited: Mapping[str, Entry]) -> Edit:
    """The edit that takes this one back, given the layer that it was applied to: apply ∘ invert = identity."""
    after = apply_layer(before, edit, inherited)
    return Edit(ops=difference(after, before, inherited), rationale=f"takes back: {edit.rationale}".rstrip(": "))


def revert_ops(before: Layer, after: Layer, now: Layer, inherited: Mapping[str, Entry]) -> tuple[Op, ...]:
    """Operations on `now` that take back what changed from `before` to `after`.

    What was taken back already is left alone. Raises `EditConflict`, naming them, if any of the entries was
    changed again since in another way: half a revert is none.
    """
    changed = [key for key in sorted(_ids(before) | _ids(after)) if _state(before, key) != _state(after, key)]
    standing = [key for key in changed if _state(now, key) != _state(before, key)]
    later = [key for key in standing if _state(now, key) != _state(after, key)]
    if later:
        raise EditConflict(
            f"changed again since: {', '.join(later)}",
            hint="revert the later revisions of these entries first (see log and blame), or edit the text by hand",
        )
    return tuple(op for key in standing for op in _move(key, _state(now, key), _state(before, key), inherited))


def _ids(layer: Layer) -> set[str]:
    return set(layer.own) | layer.hidden


def _state(layer: Layer, id: str) -> _State:
    return layer.own.get(id) or id in layer.hidden


def _move(id: str, old: _State, new: _State, inherited: Mapping[str, Entry]) -> Iterable[Op]:
    if isinstance(new, Entry):
        return (Put(entry=new),)
    if new:
        return (Drop(id=id),) if id in inherited else _move(id, old, new=False, inherited=inherited)
    if old is False:
        return ()
    return (Restore(id=id),) if old is True or id in inherited else (Drop(id=id),)


# ── identity and origin ─────────────────────────────────────────────────────────────────────


def edit_key(edit: Edit) -> str:
    """Names what an edit does, so that the same change proposed again continues its test (see the gate).

    The order of operations, the id, place and origin of a new entry, and white space in texts do not count.
    """
    return digest(sorted(digest(_normal(op)) for op in edit.ops))


def _normal(op: Op) -> list[Any]:
    if isinstance(op, Put):
        entry = op.entry
        about = [entry.key] if entry.key else []
        return ["put", entry.kind, entry.doc, _folded(entry.text), _folded(entry.trigger), *about]
    if isinstance(op, Patch):
        return ["patch", op.id, {key: _folded(value) for key, value in op.changes.items() if key != "origin"}]
    return ["drop" if isinstance(op, Drop) else "restore", op.id]


def _folded(value: Any) -> Any:
    return " ".join(unicodedata.normalize("NFC", value).split()) if isinstance(value, str) else value


def stamp(edit: Edit, evidence: Evidence, *, by: str = "") -> Edit:
    """The edit with the origin of every text that it writes set by code (I9).

    That is the minimum of the authority of all feedback in the evidence for a proposer of this name (see `taint`) and
    of the origins of the entries that `edit.read` names; without any feedback it is unknown. A lower origin that a text
    carries already stays (unknown counts as not said), and so does that of a patched text: stamping again never raises
    it. Changes that do not touch what an entry says or is used for (status, order, its end) leave its origin alone.
    What is below the agent's authority begins in quarantine (see `trust`); what was born of a failure that passes gets
    an end (see `transient`).
    """
    visible = evidence.context.by_id
    said = [authority(feedback, evidence.episodes.get(feedback.episode), by=by) for feedback in evidence.feedback]
    levels = said or [Origin.UNKNOWN]
    levels += [visible[key].origin for key in edit.read if key in visible]
    gone = {op.id for op in edit.ops if isinstance(op, Drop)}
    ops = (_stamped(op, min(levels), visible=visible, gone=gone) for op in edit.ops)
    stamped = replace(edit, ops=tuple(quarantined(op, visible) for op in ops))
    return dated(stamped, evidence)


def _stamped(op: Op, level: Origin, *, visible: Mapping[str, Entry], gone: Collection[str]) -> Op:
    if isinstance(op, Put):
        claims = [level] if op.entry.origin == Origin.UNKNOWN else [level, op.entry.origin]
        old = visible.get(op.entry.id)
        if old is not None and old.text == op.entry.text:
            claims.append(old.origin)
        return Put(entry=replace(op.entry, origin=min(claims)))
    if isinstance(op, Patch) and ("origin" in op.changes or _authored(op.changes, gone)):
        claims = [level] if _authored(op.changes, gone) else []
        claims += [op.changes["origin"]] if op.changes.get("origin") else []
        claims += [visible[op.id].origin] if op.id in visible else []
        return replace(op, changes={**op.changes, "origin": min(claims, default=level)})
    return op


def _authored(changes: Mapping[str, Any], gone: Collection[str]) -> bool:
    """Whether a patch takes an author. To name as superseded what the same edit drops hides nothing more."""
    mine = {"supersedes"} if changes.get("supersedes") in gone else set[str]()
    return bool((_AUTHORED - mine) & changes.keys())
