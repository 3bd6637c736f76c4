"""Whom to tell how an invocation ended, and how far that has come."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "callbacks",
        sa.Column("invocation_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False, server_default="pending"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", moment),
        sa.Column("last_error", sa.Text),
        sa.Column("delivered_at", moment),
        sa.PrimaryKeyConstraint("invocation_id", name="pk_callbacks"),
        sa.ForeignKeyConstraint(
            ["invocation_id"], ["invocations.id"], name="fk_callbacks_invocation_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="ck_callbacks_state"),
    )
    op.create_index("ix_callbacks_state_next_at", "callbacks", ["state", "next_at"])
