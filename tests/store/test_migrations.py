"""The migrations make the tables that the store describes."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from function_runner.errors import SettingsError
from function_runner.store.tables import FACTS, alias_moves, invocation_facts, invocations, metadata


def test_the_migrations_make_the_tables_that_the_store_describes(record):
    with record.store._reader.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def test_the_checks_are_the_same_too(record):
    with record.store._reader.connect() as connection:
        for table in (invocations, invocation_facts, alias_moves):
            made = {check["name"]: check["sqltext"] for check in inspect(connection).get_check_constraints(table.name)}
            described = {
                check.name: str(check.sqltext)
                for check in table.constraints
                if hasattr(check, "sqltext") and check.name
            }
            assert made == described


def test_a_database_of_a_newer_runner_is_left_alone(record):
    record.run()
    record.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match="newer function runner"):
        record.store.migrate()
    assert record.sql("SELECT version_num FROM alembic_version") == [("9999",)]


def test_the_facts_are_the_columns_of_their_table():
    assert ["invocation_id", *FACTS] == [column.name for column in invocation_facts.columns]


def test_sqlite_is_set_to_survive_a_power_cut(record):
    with record.store._writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
