"""What the admin API notes in the access log: every answer that showed something, every key that was made or ended.

A row is written before the answer goes out: what cannot be noted is not told. What the ledger records itself
(an approval, a revert) is noted only when it was refused. Nothing of a query, a body or an answer gets into a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from tokenspace.domain import Access, ApiKey, Deed, Scope
from tokenspace.gateway.admin_routes import Endpoint

KINDS: Final = {
    "agents": "scope", "context": "entry", "review": "attempt", "gate": "report", "forget": "erasure",
    "audit": "event",
}  # fmt: skip
UNTOLD: Final = frozenset({"health"})
"""Rooms that tell nothing about anybody, and are asked every few seconds."""
NOTED: Final = frozenset({"review", "revisions", "forget"})
"""Rooms whose writes are noted as they are done: as revisions or attempts with their verdict, or as erasures."""
_ID: Final = re.compile(r"[0-9a-f]{32}")


def shown(
    endpoint: Endpoint, key: ApiKey, scope: Scope, told: Any, *, id: str, at: datetime
) -> Access | None:  # fmt: skip
    """The row for an answer; None where none is due. `told` is the answer as plain data, `id` that of the path."""
    room = _room(endpoint)
    answer = cast("dict[str, Any]", told) if isinstance(told, dict) else dict[str, Any]()
    looked = endpoint.method == "GET" or answer.get("dry_run") is True
    if room in UNTOLD or (not looked and room in NOTED):
        return None
    items: Any = answer.get("items", answer.get("documents"))
    whose = scope if endpoint.scoped else None
    return Access(
        at=at, agent=whose.agent if whose else key.agent, tenant=whose.tenant if whose else key.tenant,
        user=whose.user if whose else "", principal=f"key {key.id}", deed="read" if looked else "wrote",
        kind=_kind(endpoint), object=_object(room, answer, id), count=1 if items is None else len(items),
    )  # fmt: skip


def refused(endpoint: Endpoint, key: ApiKey, *, id: str, at: datetime) -> Access | None:
    """The row for what a good key may not do, or did not find; whose data it meant is only what it says."""
    if _room(endpoint) in UNTOLD:
        return None
    return Access(
        at=at, agent=key.agent, tenant=key.tenant, principal=f"key {key.id}", deed=_deed(endpoint),
        kind=_kind(endpoint), object=id if _ID.fullmatch(id) else "", ended="refused",
    )  # fmt: skip


def _room(endpoint: Endpoint) -> str:
    return endpoint.path.split("/")[1]


def _kind(endpoint: Endpoint) -> str:
    room = _room(endpoint)
    return KINDS.get(room, room.removesuffix("ies") + "y" if room.endswith("ies") else room.removesuffix("s"))


def _deed(endpoint: Endpoint) -> Deed:
    if endpoint.method == "GET":
        return "read"
    room = _room(endpoint)
    if KINDS.get(room) == "erasure":
        return "erased"
    return "approved" if room in NOTED else "wrote"


def _object(room: str, answer: Mapping[str, Any], id: str) -> str:
    """Our own id of the one thing; what a caller may name as it likes (a provider's response id) is looked up."""
    own: Any = answer.get("episode", {}).get("id", "") if room == "episodes" else answer.get("id", "")
    return own if isinstance(own, str) and _ID.fullmatch(own) else id if _ID.fullmatch(id) else ""
