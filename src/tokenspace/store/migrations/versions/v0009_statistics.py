"""PostgreSQL samples no texts for its statistics: what is erased from a table would stay in them."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXTS: Final = {
    "entry": ("doc", "text", "trigger", "key"),
    "revision": ("reason", "numbers", "message"),
    "name": ("text",),
    "session": ("heads",),
    "episode": ("body",),
    "feedback": ("body",),
    "replay_case": ("body",),
    "attempt": ("body",),
    "outcome": ("body",),
    "canary": ("body",),
    "injection": ("body",),
    "job_step": ("result",),
    "erasure": ("plan", "receipt"),
    "access": ("agent", "tenant", "user", "principal"),
}


def upgrade() -> None:
    """No statistics of what is read and never searched for."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, columns in _TEXTS.items():
        changes = ", ".join(f'ALTER COLUMN "{column}" SET STATISTICS 0' for column in columns)
        op.execute(f'ALTER TABLE "{table}" {changes}')
