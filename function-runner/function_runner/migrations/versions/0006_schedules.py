"""How far each schedule has come."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "schedules",
        sa.Column("function", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("timing", sa.Text, nullable=False),
        sa.Column("handled_until", moment, nullable=False),
        sa.Column("last_at", moment),
        sa.Column("last_invocation_id", sa.String(36)),
        sa.Column("skipped", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_skipped_at", moment),
        sa.PrimaryKeyConstraint("function", "name", name="pk_schedules"),
        sa.ForeignKeyConstraint(
            ["last_invocation_id"], ["invocations.id"], name="fk_schedules_last_invocation_id", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_schedules_last_invocation_id", "schedules", ["last_invocation_id"])
