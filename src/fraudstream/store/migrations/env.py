"""Alembic's entry: runs on the connection that `store.upgrade` holds, inside its transaction and lock."""

from alembic import context

from fraudstream.store.connection import SCHEMA
from fraudstream.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    transactional_ddl=True,
)
context.run_migrations()
