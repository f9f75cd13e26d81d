"""The conformance suite of proposers: one is done when `check_proposer` passes.

A proposer may propose nothing at all; whatever it proposes keeps to these rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from tokenspace.budget import Budget
from tokenspace.context import apply, edit_key, stamp, validate
from tokenspace.domain import Edit, Evidence, Feedback, Signal
from tokenspace.errors import BudgetExceeded, EditError
from tokenspace.protocols import Proposer
from tokenspace.testing.arena import Arena, obeying

SAID: Final = (
    (Signal.CORRECTION, "right"), (Signal.EDIT, "better"), (Signal.DEMONSTRATION, "so"),
    (Signal.LABEL, True), (Signal.LABEL, False), (Signal.SCORE, 1.0), (Signal.SCORE, 0.2),
    (Signal.TEXT, "Say it in words."), (Signal.TEST_LOG, "1 failed"),
)  # fmt: skip


def check_proposer(make: Callable[[], Proposer], *, evidence: Sequence[Evidence] = ()) -> int:
    """Ask a new proposer about feedback of every kind, one by one and all together, and about your own `evidence`.

    Returns how often it proposed something, so that you can check that it ever does. Raises AssertionError that names
    the rule that was broken: a proposer has a name with a version and a reach; proposes a valid edit that applies,
    None, or raises an `EditError`; says what it is made from; cites and lists as read only what it was shown; proposes
    the same from the same; stays within its budget, and leaves the evidence alone.
    """
    assert "@" in make().name, f"{make().name!r} names no version, such as remember@1"
    assert make().reach in ("one", "cluster", "all"), f"its reach is {make().reach!r}"
    return sum(_check(make, shown) for shown in (*_samples(), *evidence))


def _check(make: Callable[[], Proposer], shown: Evidence) -> bool:
    before, budget = repr(shown), Budget()
    edit = _asked(make(), shown, budget)
    assert repr(shown) == before, "it changed the evidence that it was shown"
    again = _asked(make(), shown, Budget())
    assert (edit and edit_key(edit)) == (again and edit_key(again)), "it proposed two things from the same evidence"
    if budget.usage.calls:
        short = Budget(calls=0)
        _asked(make(), shown, short)
        assert short.left("calls") == 0, "it spent more than it had"
    if edit is None:
        return False
    assert edit.ops, "an edit without operations is no proposal: return None"
    validate(edit)
    apply(shown.context, stamp(edit, shown))
    unknown = sorted({*edit.evidence, *edit.read} - _known(shown))
    assert not unknown, f"it names what it was not shown: {', '.join(unknown)}"
    assert edit.evidence or edit.read, "it cites nothing that it is made from"
    return True


def _asked(proposer: Proposer, shown: Evidence, budget: Budget) -> Edit | None:
    """What it proposes; a proposal that cannot be used is data, and the same as none."""
    try:
        return asyncio.run(proposer.propose(shown, budget=budget))
    except (EditError, BudgetExceeded):
        return None


def _known(shown: Evidence) -> set[str]:
    """Every id that a proposer can know."""
    tried = (*shown.rejected, *shown.held, *shown.accepted)
    return {
        *(one.id for one in shown.feedback), *shown.episodes, *shown.context.by_id,
        *(name for one in tried for name in (one.id, one.key, *one.verdict.cases)),
        *(name for one in tried if one.edit for name in (*one.edit.evidence, *one.edit.read)),
    }  # fmt: skip


def _samples() -> list[Evidence]:
    """One piece of feedback of each kind, all of them together, and none."""
    arena = Arena(obeying("nothing"))
    store, scope = arena.run.store, arena.scope
    episodes = [arena.act(f"question {number}") for number in range(len(SAID))]
    said = [arena.say(one, value, signal=signal) for one, (signal, value) in zip(episodes, SAID, strict=True)]
    context, by_id = store.context(scope, store.heads(scope)), {one.id: one for one in episodes}

    def about(some: list[Feedback]) -> Evidence:
        asked = {one.episode: by_id[one.episode] for one in some}
        return Evidence(scope=scope, context=context, feedback=some, episodes=asked)

    return [about(some) for some in ([], *([one] for one in said), said)]
