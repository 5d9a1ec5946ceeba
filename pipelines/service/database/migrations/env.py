"""Run by alembic: the steps take the connection that is given, and its transaction."""

from __future__ import annotations

from alembic import context

from headclip_med.pipelines.service.database.tables import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,
)
context.run_migrations()
