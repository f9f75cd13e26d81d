"""Marks of erasure: on revisions whose text or evidence was erased, and a count on lines. Older rows have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns that may be empty."""
    op.add_column("revision", sa.Column("mark", sa.SmallInteger(), nullable=True))
    op.add_column("head", sa.Column("erasures", sa.Integer(), nullable=True))
