"""Taking back a revision that harms: an inverse revision on the served line (I4), without a model."""

from __future__ import annotations

from tokenspace.context import inherited, new_texts, revert_ops
from tokenspace.domain import Edit, Revision, Verdict
from tokenspace.errors import StaleHead
from tokenspace.loop import Runtime

_RACES = 5


def roll_back(run: Runtime, bad: Revision, reason: str, *, author: str, gate: str) -> Revision | None:
    """Undo what a revision changed; None if that is undone already.

    Raises `EditConflict` if its entries were changed again since: then a person must look. Raises `StaleHead` if the
    head moves again and again meanwhile.
    """
    store, scope = run.store, bad.scope
    for _ in range(_RACES):
        heads = store.heads(scope)
        now = store.context(scope, heads)
        before, after = (store.context(scope, heads.at(scope, id)) for id in (bad.parent, bad.id))
        ops = revert_ops(before.layers[-1], after.layers[-1], now.layers[-1], inherited(now))
        if not ops:
            return None
        edit = Edit(ops=ops, rationale=f"roll back {bad.id}", read=(bad.id,))
        verdict = Verdict(decision="accept", basis="tested", reason=reason, gate=gate)
        vectors = run.recall.index(new_texts(now, edit))
        try:
            return store.commit(scope, edit, verdict, expect=heads.of(scope), author=author, vectors=vectors)
        except StaleHead:
            continue
    raise StaleHead(f"the head of {scope} moved {_RACES} times during a roll-back", hint="run it again")
