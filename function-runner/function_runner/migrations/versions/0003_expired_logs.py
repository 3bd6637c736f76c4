"""A log may be `expired`: removed by retention, while its record stays."""

from collections.abc import Sequence

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAME = "ck_invocation_facts_log_state"
CHECK = "log_state IN ('open', 'complete', 'truncated', 'partial', 'missing', 'expired')"


def upgrade() -> None:
    # SQLite changes no constraints: there the table is made anew and its rows are copied. It has no triggers, and
    # nothing refers to it.
    with op.batch_alter_table("invocation_facts") as table:
        table.drop_constraint(NAME, type_="check")
        table.create_check_constraint(NAME, CHECK)
