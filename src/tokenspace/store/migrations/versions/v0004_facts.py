"""What a fact is about and from when on it holds. Older rows say neither, and what they committed to stays valid."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that may be empty."""
    op.add_column("entry", sa.Column("key", sa.Text(), nullable=True))
    op.add_column("entry", sa.Column("valid_from", sa.BigInteger(), nullable=True))
