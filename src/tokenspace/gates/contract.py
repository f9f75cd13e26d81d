"""A tool's schema never changes by itself; its adapter may, behind the tests of its contract. Needs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from tokenspace.context.definitions import Adapter, Definition, canonical, read_definition
from tokenspace.domain import Entry, Kind, Origin, Verdict
from tokenspace.errors import BadData
from tokenspace.gates.trial import Trial

_PARTS: Final = ("rename", "coerce", "default")


class Contract:
    """Rejects an edit that changes what the author of a tool wrote, and settles one that changes an adapter alone.

    Name, description, parameters, the entry itself and the tests of its contract are a person's: what a person edits
    is committed on their authority and does not come here, so whatever does is rejected. An adapter must pass every
    test. It is accepted if each of its changes is asked for by a test that stood before (taken back alone, that test
    fails), since no replay can show what an adapter does: a recorded call has the result that it had without it. An
    adapter that does more than the tests ask for waits for a person.
    """

    async def check(self, trial: Trial) -> Verdict | None:
        """Reject, accept or defer an edit that touches tools; None for any other."""
        before, after = (_tools(context.by_id) for context in (trial.proposal.incumbent, trial.proposal.candidate))
        changed = [id for id in sorted({*before, *after}) if before.get(id) != after.get(id)]
        if not changed:
            return None
        asked_for, unasked = list[str](), list[str]()
        for id in changed:
            if objection := _objection(before.get(id), after.get(id)):
                return trial.verdict("reject", "policy", objection)
            asked, other = _asked_for(read_definition(before[id].text), read_definition(after[id].text))
            asked_for += asked
            unasked += other
        if unasked or not asked_for:
            words = f"no test asks for {', '.join(unasked)}" if unasked else "it changes no adapter"
            return trial.verdict("defer", "policy", f"{words}; a person decides")
        if len(changed) < len(trial.proposal.edit.ops):
            return trial.verdict("reject", "policy", "an adapter is judged by its contract: propose the rest apart")
        if trial.canary is not None:
            return None  # it still passes; whether its canary went well is for the next criterion
        words = f"every test of the contract passes, and asks for it: {', '.join(asked_for)}"
        return trial.verdict("accept", "tested", words)


def _tools(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {id: entry for id, entry in entries.items() if entry.kind is Kind.TOOL}


def _objection(old: Entry | None, new: Entry | None) -> str:
    """What stands against a changed tool; "" if only its adapter has changed, or tests were added."""
    if old is None or new is None:
        return f"only a person {'defines' if old is None else 'removes'} a tool"
    if replace(new, text=old.text, origin=old.origin) != old:
        return "only a person moves, hides or retires a tool"
    if new.origin < Origin.AGENT:
        return f"its origin ({new.origin.name.lower()}) may not change how a tool is called"
    try:
        was, made = read_definition(old.text), read_definition(new.text)
    except BadData as error:
        return f"it is no definition of a tool: {error}"
    kept = {canonical(test) for test in made.contract}
    failed = made.failures()
    changed = [part for part in was.authored if canonical(was.authored[part]) != canonical(made.authored[part])]
    objections = (
        f"only a person changes the {changed[0]} of a tool" if changed else "",
        "" if kept.issuperset(map(canonical, was.contract)) else "it removes a test of the contract",
        f"the adapter fails a test of its contract: {canonical(failed[0])[:120]}" if failed else "",
    )
    return next(filter(None, objections), "")


def _asked_for(was: Definition, made: Definition) -> tuple[list[str], list[str]]:
    """The changes of an adapter that the tests ask for, and those that they do not.

    Only what stood before may ask for something: an edit does not bring its own examiner.
    """
    asked, other = list[str](), list[str]()
    for name, without in _changes(was, made):
        (asked if was.failures(without) else other).append(f"{made.name}: {name}")
    return asked, other


def _changes(was: Definition, made: Definition) -> Iterator[tuple[str, Adapter]]:
    """The changes of an adapter one by one, each with the new adapter as it would be without that change."""
    for part in _PARTS:
        old, new = was.adapter.get(part, {}), made.adapter.get(part, {})
        for key in sorted({*old, *new}):
            if canonical([key in old, old.get(key)]) != canonical([key in new, new.get(key)]):
                back: dict[str, Any] = {name: value for name, value in new.items() if name != key}
                yield f"{part} {key}", _with(made, part, back | ({key: old[key]} if key in old else {}))
    if bool(was.adapter.get("drop_unknown")) != bool(made.adapter.get("drop_unknown")):
        yield "drop_unknown", _with(made, "drop_unknown", bool(was.adapter.get("drop_unknown")))


def _with(made: Definition, part: str, value: object) -> Adapter:
    return replace(made, adapter={**made.adapter, part: value}).adapting
