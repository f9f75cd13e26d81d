"""How strictly an edit is judged: by whom it could change, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from tokenspace.domain import Context, Drop, Edit, Feedback, Kind, Op, Patch, Put, Restore
from tokenspace.gates.settings import T0, T1, T2, T3, T4, GateSettings


def tier(edit: Edit, incumbent: Context, feedback: Sequence[Feedback], settings: GateSettings) -> int:
    """The strictest tier of an edit's operations (gate.md, "How strict, for whom").

    `feedback` is the evidence; only what the edit cites counts. An example whose cited feedback comes from
    teachers alone is T1 in any scope.
    """
    cited = [item for item in feedback if item.id in edit.evidence]
    taught = bool(cited) and all(item.principal in settings.teachers for item in cited)
    return max(_of_kind(_kind(op, incumbent), incumbent, taught=taught) for op in edit.ops)


def _kind(op: Op, incumbent: Context) -> Kind:
    match op:
        case Put(entry=entry):
            return entry.kind
        case Patch(id=id) | Drop(id=id) | Restore(id=id):
            known = incumbent.by_id.get(id)
            # What is not visible here cannot be classed: take the strictest kind.
            return known.kind if known else Kind.INSTRUCTION


def _of_kind(kind: Kind, incumbent: Context, *, taught: bool) -> int:
    if kind is Kind.EXAMPLE and taught:
        return T1
    if not incumbent.scope.tenant:
        return T4
    if not incumbent.scope.user or kind in (Kind.SKILL, Kind.INSTRUCTION):
        return T3
    return {Kind.RULE: T2, Kind.TOOL_NOTE: T2, Kind.FACT: T1, Kind.EXAMPLE: T0}[kind]
