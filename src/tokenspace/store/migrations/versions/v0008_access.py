"""The access log: who read, approved or erased what, where the ledger does not say it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    names = [sa.Column(name, sa.Text(), nullable=False) for name in ("agent", "tenant", "user", "principal")]
    told = [sa.Column(name, sa.Text(), nullable=False) for name in ("deed", "kind")]
    op.create_table(
        "access",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *names,
        *told,
        sa.Column("object", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access"),
    )
    op.create_index("ix_access_at", "access", ["at"])
