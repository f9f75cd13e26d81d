"""`reflect`: failures beside successes → a few delta operations on rules (the ACE reflector and curator roles)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokenspace.budget import Budget
from tokenspace.domain import Drop, Edit, Entry, Evidence, Kind, Op, Origin, Patch, Put
from tokenspace.errors import InvalidEdit
from tokenspace.proposers.asking import Asker, wording
from tokenspace.proposers.shown import MAX_ENTRIES, MAX_FAILURES, Shown, one_line, show
from tokenspace.protocols import Reach

MAX_OPERATIONS: Final = 4
MAX_TRIGGER_CHARS: Final = 160
MAX_RULE_CHARS: Final = 320

_WORDS: Final = wording("reflect@1")


class Reflect:
    """Asks a model what a cluster's failures share and its successes lack; adds, patches or drops rules.

    An answer that names anything that it was not shown, or a rule that it may not change, is refused as a whole: its
    operations belong together, and whoever invents one handle cannot be trusted with the others. The handles are a
    part of the schema, so that a model with structured output cannot invent any, and one without is told once. Rules
    of more authority than the feedback are shown, and cannot be changed by it. What a model wrote has the agent's
    authority at most, since it read the agent's answers.
    """

    name: str = _WORDS.cited
    reach: Reach = "cluster"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def propose(self, evidence: Evidence, *, budget: Budget) -> Edit | None:
        """At most four operations; None without a measured failure, or if the model finds no cause."""
        shown = show(evidence, lambda told: self._asker.fits(_WORDS, told, _WIDEST), kinds={Kind.RULE})
        if shown is None:
            return None
        rules = [name for name, entry in shown.entries.items() if _changeable(entry, shown)]
        asked = schema(list(shown.causes), rules)
        said = await self._asker.ask(evidence.scope, _WORDS, shown.told, asked, budget=budget)
        operations: list[Mapping[str, Any]] = said["operations"]
        if not operations:
            return None
        ops = [_op(one, shown.entries) for one in operations]
        because = {name for one in operations for name in one["because"]}
        return shown.edit(ops, because=because, rationale=said["diagnosis"])


def _changeable(entry: Entry, shown: Shown) -> bool:
    return entry.kind is Kind.RULE and entry.origin <= shown.level


def schema(failures: list[str], rules: list[str]) -> dict[str, Any]:
    """What an answer looks like, when these are the handles of the failures and of the rules that may change."""
    operation = {
        "op": {"enum": ["add", "patch", "drop"] if rules else ["add"]},
        "entry": {"enum": [None, *rules]},
        "trigger": {"type": ["string", "null"], "maxLength": MAX_TRIGGER_CHARS},
        "text": {"type": ["string", "null"], "maxLength": MAX_RULE_CHARS},
        "because": {"type": "array", "minItems": 1, "maxItems": len(failures), "items": {"enum": failures}},
    }
    operations = {"type": "array", "maxItems": MAX_OPERATIONS, "items": closed(operation)}
    return closed({"diagnosis": {"type": "string", "maxLength": 1_000}, "operations": operations})


def closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


def new_rule(trigger: str | None, text: str | None) -> Entry:
    """A rule in a model's words. Raises `InvalidEdit` if it says nothing."""
    said = one_line(text or "")
    if not said:
        raise InvalidEdit("a rule without a text", hint="say in one sentence what to do")
    when = one_line(trigger or "") or None
    return Entry(kind=Kind.RULE, doc="rules", trigger=when, text=said, origin=Origin.AGENT)


_WIDEST: Final = schema([f"f{n}" for n in range(MAX_FAILURES)], [f"e{n}" for n in range(MAX_ENTRIES)])


def _op(said: Mapping[str, Any], entries: Mapping[str, Entry]) -> Op:
    name, handle = said["op"], said["entry"]
    if (handle is None) != (name == "add"):
        wanted = "none" if name == "add" else "one"
        raise InvalidEdit(f"{name} names {handle or 'no entry'}", hint=f"{name} needs {wanted}")
    if name == "add":
        return Put(entry=new_rule(said["trigger"], said["text"]))
    old = entries[handle]
    if name == "drop":
        return Drop(id=old.id)
    new = new_rule(said["trigger"], said["text"])
    changes = {key: value for key in ("trigger", "text") if (value := getattr(new, key)) != getattr(old, key)}
    if not changes:
        raise InvalidEdit(f"the patch of {handle} changes nothing", hint="leave it out")
    return Patch(id=old.id, changes={**changes, "origin": Origin.AGENT})
