"""Virtual keys: who may knock at the gateway, and what for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tokenspace.domain.identity import new_id

Right = Literal["infer", "feedback", "read", "admin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret, of which only `hash` is kept: SHA-256 as 64 hexadecimal digits.

    Whoever shows the secret acts for `tenant`; with "" for the agents' shared base and, in the admin API, for every
    tenant. `agent` is the one that is meant unless the caller names another; "" for none. `expires` and `revoked` are
    the moments from which it is refused.
    """

    id: str = field(default_factory=new_id)
    hash: str
    label: str = ""
    tenant: str = ""
    agent: str = ""
    rights: frozenset[Right]
    expires: datetime | None = None
    revoked: datetime | None = None
    at: datetime

    def valid(self, now: datetime) -> bool:
        """Whether it opens anything at this moment."""
        return all(end is None or now < end for end in (self.expires, self.revoked))
