"""What the gate's tests say of each entry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tokenspace.context import Tally, tally
from tokenspace.domain import Attempt, Drop, Edit, Entry, Heads, Kind, Patch, Put, Restore, Scope, Verdict

ENTRY = Entry(id="e1", kind=Kind.RULE, doc="rules", text="Be brief.")


def attempted(op, fixes=0, breaks=0, pairs=0, *, key="k", model="m", decision="accept") -> Attempt:
    verdict = Verdict(
        decision=decision, fixes=fixes, breaks=breaks, pairs=pairs, model=model, cases=tuple(map(str, range(pairs)))
    )
    return Attempt(
        scope=Scope(agent="desk"), key=key, edit_key=f"edit {key}", proposer="test@1", heads=Heads(),
        edit=Edit(ops=(op,)), verdict=verdict, at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def test_puts_and_patches_count_for_an_entry_and_drops_against_it():
    attempts = [
        attempted(Put(entry=ENTRY), 4, 1, 8, key="a"),
        attempted(Patch(id="e1", changes={"text": "Be very brief."}), 2, 0, 3, key="b", decision="reject"),
        attempted(Drop(id="e1"), 3, 1, 5, key="c", decision="defer"),
        attempted(Restore(id="e1"), 9, 0, 9, key="d"),
    ]
    assert tally(attempts) == {"e1": {"m": Tally(4 + 2 + 1, 1 + 0 + 3, 3 + 1 + 1)}}


def test_models_are_kept_apart():
    found = tally([attempted(Put(entry=ENTRY), 1, 0, 1, model="m"), attempted(Put(entry=ENTRY), 0, 1, 1, model="n")])
    assert found == {"e1": {"m": Tally(1, 0, 0), "n": Tally(0, 1, 0)}}


def test_a_test_that_went_on_counts_once_with_its_newest_numbers():
    first = attempted(Put(entry=ENTRY), 2, 0, 3, decision="defer")
    assert tally([first, replace(first, id="again", verdict=replace(first.verdict, fixes=5, pairs=6))]) == {
        "e1": {"m": Tally(5, 0, 1)}
    }


def test_what_was_not_tested_on_cases_says_nothing():
    untested = attempted(Put(entry=ENTRY))
    unnamed = replace(untested, verdict=replace(untested.verdict, pairs=93, cases=()))
    assert tally([untested, unnamed, replace(untested, edit=None)]) == {}
