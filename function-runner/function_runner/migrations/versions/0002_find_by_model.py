"""An index along which the records of a model are listed, newest first.

It takes the place of the one by model and version, so that recording an invocation costs what it did. The version is
its last column: to find one of many is a walk past the others, but past their entries in the index only.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_index("ix_invocations_model_name_model_version", "invocations")
    op.create_index(
        "ix_invocations_model_name_sequence_model_version",
        "invocations",
        ["model_name", "sequence", "model_version"],
    )
