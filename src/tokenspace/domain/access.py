"""Who did what to what, where the ledger does not say it: ids and numbers, never texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tokenspace.domain.identity import new_id

Deed = Literal["read", "wrote", "approved", "erased"]
Ended = Literal["done", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One thing that a principal did through a door: the admin API, MCP or the command line.

    `agent`, `tenant` and `user` say whose data it was about; they are plain names and no `Scope`, since a listing of
    keys is about no agent, and since a row outlives its scope. `kind` is what was touched ("episode", "key"), `object`
    the id of the one thing, or "" where they were `count` things of that kind.
    """

    id: str = field(default_factory=new_id)
    at: datetime
    agent: str = ""
    tenant: str = ""
    user: str = ""
    principal: str
    deed: Deed
    kind: str
    object: str = ""
    count: int = 1
    ended: Ended = "done"
