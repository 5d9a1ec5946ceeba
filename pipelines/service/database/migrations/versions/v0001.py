"""The first tables; rows of the audit cannot be changed or removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

REFUSALS = {
    "sqlite": [
        f"CREATE TRIGGER audit_{change.lower()} BEFORE {change} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'rows of the audit stay as they are'); END"
        for change in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'rows of the audit stay as they are'; END $$",
        "CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_stays()",
    ],
}


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=1024), nullable=True),
        sa.Column("subject", sa.String(length=1024), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_audit_event"), "audit", ["event"], unique=False)
    op.create_table(
        "drift",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calibration_digest", sa.String(length=64), nullable=False),
        sa.Column("stratum", sa.String(length=1024), nullable=False),
        sa.Column("is_stale", sa.Boolean(), nullable=False),
        sa.Column("alarm", sa.JSON(), nullable=False),
        sa.Column("since", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("calibration_digest", "stratum"),
    )
    op.create_table(
        "file",
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("repeats", sa.String(length=1024), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=1024), nullable=False),
        sa.Column("advice", sa.String(length=1024), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pause",
        sa.Column("cause", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=1024), nullable=False),
        sa.Column("advice", sa.String(length=1024), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("cause"),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("files_digest", sa.String(length=64), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=True),
        sa.Column("name", sa.String(length=1024), nullable=True),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=True),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("modality", sa.String(length=64), nullable=True),
        sa.Column("body_part", sa.String(length=64), nullable=True),
        sa.Column("slices", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=1024), nullable=True),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", "revision"),
    )
    op.create_index(op.f("ix_series_files_digest"), "series", ["files_digest"], unique=False)
    op.create_index(op.f("ix_series_key"), "series", ["key"], unique=False)
    op.create_index(
        op.f("ix_series_series_instance_uid"), "series", ["series_instance_uid"], unique=False
    )
    op.create_index(
        op.f("ix_series_study_instance_uid"), "series", ["study_instance_uid"], unique=False
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("run_key", sa.String(length=64), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("is_alone", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("worker", sa.String(length=1024), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("failure", sa.String(length=64), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=1024), nullable=True),
        sa.Column("advice", sa.String(length=1024), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("series_id", "run_key"),
    )
    op.create_index(op.f("ix_job_series_id"), "job", ["series_id"], unique=False)
    op.create_index("job_by_turn", "job", ["state", "priority", "not_before"], unique=False)
    op.create_table(
        "result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(length=1024), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("calibration", sa.String(length=64), nullable=True),
        sa.Column("stratum", sa.String(length=1024), nullable=True),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("superseded_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["superseded_by"], ["result.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_result_job_id"), "result", ["job_id"], unique=False)
    op.create_index(op.f("ix_result_score"), "result", ["score"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("result_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.String(length=1024), nullable=True),
        sa.Column("advice", sa.String(length=1024), nullable=True),
        sa.Column("sent_at", sa.Double(), nullable=True),
        sa.Column("verified_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("result_id", "destination"),
    )
    op.create_index("delivery_by_turn", "delivery", ["state", "not_before"], unique=False)
    for statement in REFUSALS[op.get_context().dialect.name]:
        op.execute(statement)
