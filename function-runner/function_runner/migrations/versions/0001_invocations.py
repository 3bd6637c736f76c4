"""Invocations, their facts and events, idempotency keys, owners; and the triggers that keep the rules.

The rules, for every writer, SQL by hand included:

- what was asked (id, function, parameters, …) never changes, and an id or number is never taken over by another row;
- a row is born ``queued``, moves forward, may go back only as a new attempt, and does not change once it has ended;
- only rows that have ended can be deleted (by retention);
- each state an attempt enters is an event; events are never changed and leave only together with their row.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

STATUSES = "'queued', 'starting', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'lost'"
ENDS = "'succeeded', 'failed', 'timed_out', 'cancelled', 'lost'"
LOG_STATES = "'open', 'complete', 'truncated', 'partial', 'missing'"

# What was asked.
FIXED = (
    "sequence", "id", "function", "parameters", "parameters_sha256", "timeout_seconds", "mode", "caller",
    "idempotency_key", "callback_url", "replay_of", "created_at",
)  # fmt: skip


def upgrade() -> None:
    _create_tables()
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _sqlite_triggers() if is_sqlite else _postgres_triggers():
        op.execute(sa.text(statement))


def _create_tables() -> None:
    moment = sa.DateTime(timezone=True)
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "invocations",
        sa.Column("sequence", number, autoincrement=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("function", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("parameters_sha256", sa.String(64), nullable=False),
        sa.Column("timeout_seconds", sa.Float, nullable=False),
        sa.Column("mode", sa.String(8), nullable=False, server_default="sync"),
        sa.Column("caller", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("callback_url", sa.Text),
        sa.Column("replay_of", sa.String(36)),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("max_attempts", sa.Integer, nullable=False, server_default="1"),
        sa.Column("delivered", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", moment),
        sa.Column("expires_at", moment),
        sa.Column("cancel_requested_at", moment),
        sa.Column("owner", sa.Text),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("container_name", sa.Text),
        sa.Column("start", sa.String(8)),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("source_hash", sa.Text),
        sa.Column("image_tag", sa.Text),
        sa.Column("image_id", sa.Text),
        sa.Column("base_image_id", sa.Text),
        sa.Column("memory_limit_mb", sa.Integer),
        sa.Column("queue_ms", sa.Float),
        sa.Column("build_ms", sa.Float),
        sa.Column("create_ms", sa.Float),
        sa.Column("start_ms", sa.Float),
        sa.Column("init_ms", sa.Float),
        sa.Column("record_ms", sa.Float),
        sa.Column("run_ms", sa.Float),
        sa.Column("result_ms", sa.Float),
        sa.Column("total_ms", sa.Float),
        sa.Column("result", sa.Text),
        sa.Column("result_sha256", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("mlflow_run_id", sa.Text),
        sa.Column("mlflow_experiment_id", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("model_version", sa.Text),
        sa.Column("model_alias", sa.Text),
        sa.Column("model_uri", sa.Text),
        sa.PrimaryKeyConstraint("sequence", name="pk_invocations"),
        sa.UniqueConstraint("id", name="uq_invocations_id"),
        sa.CheckConstraint(f"status IN ({STATUSES})", name="ck_invocations_status"),
        sa.CheckConstraint("mode IN ('sync', 'async')", name="ck_invocations_mode"),
        sa.CheckConstraint("start IN ('cold', 'warm', 'reused')", name="ck_invocations_start"),
        sa.CheckConstraint("status <> 'succeeded' OR result IS NOT NULL", name="ck_invocations_success_has_result"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_invocations_function_sequence", "invocations", ["function", "sequence"])
    op.create_index("ix_invocations_status_sequence", "invocations", ["status", "sequence"])
    op.create_index("ix_invocations_function_status_sequence", "invocations", ["function", "status", "sequence"])
    op.create_index("ix_invocations_container_name", "invocations", ["container_name"])
    op.create_index("ix_invocations_mlflow_run_id", "invocations", ["mlflow_run_id"])
    op.create_index("ix_invocations_model_name_model_version", "invocations", ["model_name", "model_version"])

    op.create_table(
        "invocation_facts",
        sa.Column("invocation_id", sa.String(36), nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("oom_killed", sa.Boolean),
        sa.Column("max_memory_mb", sa.Float),
        sa.Column("log_state", sa.String(16)),
        sa.Column("log_bytes", sa.BigInteger),
        sa.Column("log_sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("invocation_id", name="pk_invocation_facts"),
        sa.ForeignKeyConstraint(
            ["invocation_id"], ["invocations.id"], name="fk_invocation_facts_invocation_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"log_state IN ({LOG_STATES})", name="ck_invocation_facts_log_state"),
    )

    op.create_table(
        "invocation_events",
        sa.Column("sequence", number, autoincrement=True),
        sa.Column("invocation_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("container_name", sa.Text),
        sa.PrimaryKeyConstraint("sequence", name="pk_invocation_events"),
        sa.UniqueConstraint(
            "invocation_id", "attempt", "status", name="uq_invocation_events_invocation_id_attempt_status"
        ),
        sa.ForeignKeyConstraint(
            ["invocation_id"], ["invocations.id"], name="fk_invocation_events_invocation_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    is_end = sa.text(f"status IN ({ENDS})")
    op.create_index(
        "uq_invocation_events_end",
        "invocation_events",
        ["invocation_id"],
        unique=True,
        sqlite_where=is_end,
        postgresql_where=is_end,
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("function", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("invocation_id", sa.String(36), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("caller", "function", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["invocation_id"], ["invocations.id"], name="fk_idempotency_keys_invocation_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_idempotency_keys_invocation_id", "idempotency_keys", ["invocation_id"])
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])

    op.create_table(
        "owners",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_owners"),
    )


# Position of a status on the way; all ends share one.
RANK = "CASE {row}.status WHEN 'queued' THEN 0 WHEN 'starting' THEN 1 WHEN 'running' THEN 2 ELSE 3 END"
GOES_BACK = f"{RANK.format(row='NEW')} < {RANK.format(row='OLD')} AND NEW.attempt <= OLD.attempt"


def _sqlite_triggers() -> list[str]:
    changed = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in FIXED)
    # SQLAlchemy's own form of a moment, which has microseconds.
    record = """INSERT INTO invocation_events (invocation_id, attempt, status, at, owner, container_name) VALUES
        (NEW.id, NEW.attempt, NEW.status, strftime('%Y-%m-%d %H:%M:%f000', 'now'), NEW.owner, NEW.container_name);"""

    def refuse(name: str, moment: str, condition: str, message: str) -> str:
        return f"""CREATE TRIGGER {name} BEFORE {moment} FOR EACH ROW WHEN {condition}
            BEGIN SELECT RAISE(ABORT, '{message}'); END"""

    return [
        # INSERT OR REPLACE deletes without firing a delete trigger, so it is stopped before.
        refuse(
            "invocations_insert_existing",
            "INSERT ON invocations",
            "EXISTS (SELECT 1 FROM invocations WHERE id = NEW.id OR sequence = NEW.sequence)",
            "this invocation exists",
        ),
        refuse(
            "invocations_insert_queued",
            "INSERT ON invocations",
            "NEW.status <> 'queued'",
            "an invocation starts in the queue",
        ),
        refuse(
            "invocations_update_ended",
            "UPDATE ON invocations",
            f"OLD.status IN ({ENDS})",
            "an invocation that has ended does not change",
        ),
        refuse("invocations_update_fixed", "UPDATE ON invocations", changed, "what was asked does not change"),
        refuse(
            "invocations_update_back",
            "UPDATE ON invocations",
            f"NEW.attempt < OLD.attempt OR ({GOES_BACK})",
            "an invocation goes back only as a new attempt",
        ),
        refuse(
            "invocations_delete_open",
            "DELETE ON invocations",
            f"OLD.status NOT IN ({ENDS})",
            "an invocation that has not ended cannot be deleted",
        ),
        f"CREATE TRIGGER invocations_insert_event AFTER INSERT ON invocations FOR EACH ROW BEGIN {record} END",
        f"""CREATE TRIGGER invocations_update_event AFTER UPDATE ON invocations FOR EACH ROW
            WHEN NEW.status IS NOT OLD.status OR NEW.attempt IS NOT OLD.attempt BEGIN {record} END""",
        refuse(
            "invocation_events_insert_existing",
            "INSERT ON invocation_events",
            """EXISTS (SELECT 1 FROM invocation_events WHERE sequence = NEW.sequence OR
                (invocation_id = NEW.invocation_id AND attempt = NEW.attempt AND status = NEW.status))""",
            "this event happened already",
        ),
        refuse("invocation_events_update", "UPDATE ON invocation_events", "1", "what happened does not change"),
        refuse(
            "invocation_events_delete",
            "DELETE ON invocation_events",
            "EXISTS (SELECT 1 FROM invocations WHERE id = OLD.invocation_id)",
            "what happened does not change",
        ),
    ]


def _postgres_triggers() -> list[str]:
    changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in FIXED)

    def function(name: str, body: str) -> str:
        return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"

    def trigger(name: str, moment: str) -> str:
        return f"CREATE TRIGGER {name} {moment} FOR EACH ROW EXECUTE FUNCTION {name}()"

    return [
        function(
            "invocations_insert",
            """IF NEW.status <> 'queued' THEN RAISE EXCEPTION 'an invocation starts in the queue'; END IF;
            RETURN NEW;""",
        ),
        trigger("invocations_insert", "BEFORE INSERT ON invocations"),
        function(
            "invocations_update",
            f"""IF OLD.status IN ({ENDS}) THEN
                RAISE EXCEPTION 'an invocation that has ended does not change'; END IF;
            IF {changed} THEN RAISE EXCEPTION 'what was asked does not change'; END IF;
            IF NEW.attempt < OLD.attempt OR ({GOES_BACK}) THEN
                RAISE EXCEPTION 'an invocation goes back only as a new attempt'; END IF;
            RETURN NEW;""",
        ),
        trigger("invocations_update", "BEFORE UPDATE ON invocations"),
        function(
            "invocations_delete",
            f"""IF OLD.status NOT IN ({ENDS}) THEN
                RAISE EXCEPTION 'an invocation that has not ended cannot be deleted'; END IF;
            RETURN OLD;""",
        ),
        trigger("invocations_delete", "BEFORE DELETE ON invocations"),
        function(
            "invocations_event",
            """IF TG_OP = 'UPDATE' AND NEW.status = OLD.status AND NEW.attempt = OLD.attempt THEN
                RETURN NULL; END IF;
            INSERT INTO invocation_events (invocation_id, attempt, status, at, owner, container_name)
                VALUES (NEW.id, NEW.attempt, NEW.status, clock_timestamp(), NEW.owner, NEW.container_name);
            RETURN NULL;""",
        ),
        trigger("invocations_event", "AFTER INSERT OR UPDATE ON invocations"),
        function(
            "invocation_events_keep",
            """IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT 1 FROM invocations WHERE id = OLD.invocation_id) THEN
                RETURN OLD; END IF;
            RAISE EXCEPTION 'what happened does not change';""",
        ),
        trigger("invocation_events_keep", "BEFORE UPDATE OR DELETE ON invocation_events"),
    ]
