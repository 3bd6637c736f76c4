"""Runs the migrations in the transaction that `Store.migrate` opened, so that they apply as a whole or not at all."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
