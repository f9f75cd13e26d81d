"""How strictly an edit is judged: by whom it could change, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from tokenspace.domain import Context, Drop, Edit, Feedback, Kind, Op, Origin, Patch, Put, Restore
from tokenspace.gates.settings import T0, T1, T2, T3, T4, GateSettings


def tier(edit: Edit, incumbent: Context, feedback: Sequence[Feedback], settings: GateSettings) -> int:
    """The strictest tier of an edit's operations (gate.md, "How strict, for whom").

    `feedback` is the evidence; only what the edit cites counts. An example whose cited feedback comes from
    teachers alone is T1 in any scope.
    """
    cited = [item for item in feedback if item.id in edit.evidence]
    # What an agent or a tool says under a teacher's name is not what that teacher said.
    taught = bool(cited) and all(item.principal in settings.teachers and item.source >= Origin.USER for item in cited)
    kinds = (kind for op in edit.ops for kind in _kinds(op, incumbent))
    return max((_of_kind(kind, incumbent, taught=taught) for kind in kinds), default=T4)


def _kinds(op: Op, incumbent: Context) -> list[Kind]:
    """What the operation makes, replaces and supersedes: an instruction is not changed by calling it an example."""
    replaced = incumbent.by_id.get(op.entry.id if isinstance(op, Put) else op.id)
    kinds = [replaced.kind] if replaced else []
    match op:
        case Put(entry=entry):
            kinds += [entry.kind, *_superseded(entry.supersedes, incumbent)]
        case Patch(changes=changes):
            kinds.append(Kind(changes.get("kind", replaced.kind if replaced else Kind.INSTRUCTION)))
            kinds += _superseded(changes.get("supersedes", replaced.supersedes if replaced else None), incumbent)
        case Drop() | Restore():
            # What is not visible here cannot be classed: take the strictest kind.
            kinds += [] if replaced else [Kind.INSTRUCTION]
    return kinds


def _superseded(id: str | None, incumbent: Context) -> list[Kind]:
    return [old.kind] if (old := incumbent.by_id.get(id or "")) else []


def _of_kind(kind: Kind, incumbent: Context, *, taught: bool) -> int:
    if kind is Kind.EXAMPLE and taught:
        return T1
    if not incumbent.scope.tenant:
        return T4
    if not incumbent.scope.user or kind in (Kind.SKILL, Kind.INSTRUCTION, Kind.TOOL):
        return T3
    return {Kind.RULE: T2, Kind.TOOL_NOTE: T2, Kind.RENDERER: T2, Kind.FACT: T1, Kind.EXAMPLE: T0}[kind]
