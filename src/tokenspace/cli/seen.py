"""What a command showed to a person goes into the access log.

Whoever has the store's file can read it without a command, so this is a record and no barrier: where it cannot be
written (a full disk, a read-only copy), the command goes on and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenspace.cli.output import note as remark
from tokenspace.errors import StoreError

if TYPE_CHECKING:
    from tokenspace.api import LearningAgent
    from tokenspace.domain import Access, Deed
    from tokenspace.protocols import Admin


def seen(agent: LearningAgent, kind: str, *, id: str = "", count: int = 1) -> None:
    """Note that things of a kind were shown, one by its id or so many, and to whom: not to the user of the scope."""
    from tokenspace.auditing import note
    from tokenspace.cli.options import settings
    from tokenspace.domain import Access

    scope, run = agent.scope, agent.parts.runtime
    try:
        note(run.store, Access(
            at=run.clock(), agent=scope.agent, tenant=scope.tenant, user=scope.user,
            principal=settings().principal, deed="read", kind=kind, object=id, count=count,
        ))  # fmt: skip
    except StoreError as error:
        _unnoted(error)


def did(
    admin: Admin, deed: Deed, kind: str, *, tenant: str = "", agent: str = "", id: str = "", count: int = 1
) -> None:
    """Note what was done with the store as a whole, such as with its keys."""
    from tokenspace.cli.options import settings
    from tokenspace.config import utc_now
    from tokenspace.domain import Access

    row: Access = Access(
        at=utc_now(), agent=agent, tenant=tenant, principal=settings().principal, deed=deed, kind=kind, object=id,
        count=count,
    )  # fmt: skip
    try:
        admin.note_access(row)
    except StoreError as error:
        _unnoted(error)


def _unnoted(error: StoreError) -> None:
    remark(f"this could not be noted for the audit: {error}")
