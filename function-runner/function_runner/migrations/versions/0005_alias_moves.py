"""Every move of an alias of a model: from which version to which, when and by whom.

MLflow keeps only where an alias points. A move is never changed or deleted.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "alias_moves",
        sa.Column("sequence", number, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("caller", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("alias", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("from_version", sa.Text),
        sa.Column("to_version", sa.Text),
        sa.PrimaryKeyConstraint("sequence", name="pk_alias_moves"),
        sa.UniqueConstraint("model", "alias", "number", name="uq_alias_moves_model_alias_number"),
        sa.CheckConstraint("action IN ('set', 'delete', 'rollback', 'outside')", name="ck_alias_moves_action"),
        sqlite_autoincrement=True,
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _sqlite_triggers() if is_sqlite else _postgres_triggers():
        op.execute(sa.text(statement))


def _sqlite_triggers() -> list[str]:
    return [
        f"""CREATE TRIGGER alias_moves_{moment.lower()} BEFORE {moment} ON alias_moves FOR EACH ROW
            BEGIN SELECT RAISE(ABORT, 'what happened does not change'); END"""
        for moment in ("UPDATE", "DELETE")
    ]


def _postgres_triggers() -> list[str]:
    return [
        """CREATE FUNCTION alias_moves_keep() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'what happened does not change'; END $$""",
        """CREATE TRIGGER alias_moves_keep BEFORE UPDATE OR DELETE ON alias_moves
            FOR EACH ROW EXECUTE FUNCTION alias_moves_keep()""",
    ]
