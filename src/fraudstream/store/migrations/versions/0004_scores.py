"""Decisions, alerts with their reasons, and what the dashboards read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)

VIEWS = {
    "alert_reviews": """
select a.*, l.is_fraud as verdict, l.labelled_at as reviewed_at, l.labelled_by as reviewed_by, l.note,
  coalesce(f.is_fraud, t.is_fraud) as truth
from shop.alerts as a
left join lateral (
  select is_fraud, labelled_at, labelled_by, note from shop.labels
  where transaction_id = a.transaction_id order by labelled_at desc, label_id desc limit 1
) as l on true
left join shop.fraud_transactions as f on f.transaction_id = a.transaction_id
left join shop.transactions as t on t.transaction_id = a.transaction_id""",
    "alert_quality": """
select date_trunc('day', scored_at) as day, model_version, count(*) as alerts,
  count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
  count(*) filter (where verdict is null) as waiting,
  count(*) filter (where verdict)::float8 / nullif(count(verdict), 0) as precision,
  percentile_cont(0.5) within group (order by extract(epoch from reviewed_at - scored_at)) as label_delay_seconds
from shop.alert_reviews group by 1, 2""",
    "score_drift": """
with shares as (
  select r.model_version, r.day, r.bin, r.count / sum(r.count) over (partition by r.model_version, r.day) as share,
    sum(r.count) over (partition by r.model_version, r.day) as scores
  from (select model_version, date_trunc('day', hour) as day, bin, sum(count)::float8 as count
        from shop.risk_bins group by 1, 2, 3) as r
), reference as (
  select m.version as model_version, (e.place - 1)::int as bin, e.share::float8 as share,
    (m.manifest -> 'score_reference' ->> 'rows')::float8 as rows
  from shop.models as m, jsonb_array_elements_text(m.manifest -> 'score_reference' -> 'shares')
    with ordinality as e (share, place)
), days as (select distinct model_version, day, scores from shares)
select d.model_version, d.day, d.scores::bigint as scores,
  -- population stability index; an empty bin counts as one in ten thousand, so that the logarithm exists
  sum((greatest(coalesce(s.share, 0), 1e-4) - greatest(r.share, 1e-4))
    * ln(greatest(coalesce(s.share, 0), 1e-4) / greatest(r.share, 1e-4))) as psi,
  -- what it is on average where nothing has changed: few scores scatter
  (count(*) - 1) * (1 / d.scores + 1 / nullif(r.rows, 0)) as psi_by_chance
from days as d join reference as r using (model_version)
left join shares as s on s.model_version = d.model_version and s.day = d.day and s.bin = r.bin
group by d.model_version, d.day, d.scores, r.rows""",
    "decision_latency": """
with running as (
  select minute, bin, sum(count) over (partition by minute order by bin) as below,
    sum(count) over (partition by minute) as decisions
  from shop.latency_bins where minute > now() - interval '1 hour'
)
-- a percentile is the first bin with so many decisions below its upper edge; exp undoes what the bins are made of
select minute, max(decisions)::bigint as decisions,
  exp(min(bin) filter (where below >= 0.50 * decisions) / 50.0::float8) * 1000 as p50_ms,
  exp(min(bin) filter (where below >= 0.95 * decisions) / 50.0::float8) * 1000 as p95_ms,
  exp(min(bin) filter (where below >= 0.99 * decisions) / 50.0::float8) * 1000 as p99_ms
from running group by 1""",
}
"""What is watched. Personal columns are in none of them."""


def upgrade() -> None:
    """Make the tables of decisions and the views over them, and count what is stored already."""
    _scores()
    _alerts()
    op.create_table(
        "hourly",
        sa.Column("kind", sa.Text, primary_key=True, comment="transactions, fraud, scores or alerts."),
        sa.Column("hour", INSTANT, primary_key=True, comment="Of the transactions' own time."),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.Double, nullable=False),
        schema="shop",
    )
    op.create_table(
        "risk_bins",
        sa.Column("model_version", sa.Text, primary_key=True),
        sa.Column("hour", INSTANT, primary_key=True, comment="Of scored_at."),
        sa.Column("bin", sa.Integer, primary_key=True, comment="In the manifest's score_reference."),
        sa.Column("count", sa.BigInteger, nullable=False),
        schema="shop",
    )
    op.create_table(
        "latency_bins",
        sa.Column("minute", INSTANT, primary_key=True, comment="Of scored_at."),
        sa.Column("bin", sa.Integer, primary_key=True, comment="50 times the logarithm of seconds."),
        sa.Column("count", sa.BigInteger, nullable=False),
        schema="shop",
    )
    op.create_table(
        "stream_progress",
        sa.Column("stream", sa.Text, primary_key=True, comment="Which command: consume, score, …"),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
        sa.Column(
            "end_offset", sa.BigInteger, nullable=False, comment="Of the partition; lag is the difference."
        ),
        sa.Column("rows_per_second", sa.Double, nullable=False, comment="Of the whole stream."),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema="shop",
    )
    op.create_table(
        "label_files",
        sa.Column(
            "sha256",
            sa.Text,
            primary_key=True,
            comment="Of the file's bytes and of how its columns were mapped.",
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("added", sa.BigInteger, nullable=False),
        sa.Column("read_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema="shop",
    )
    for kind, table in (("transactions", "transactions"), ("fraud", "fraud_transactions")):
        op.execute(
            "insert into shop.hourly (kind, hour, count, amount)"  # noqa: S608 - constants of this module
            f" select '{kind}', date_trunc('hour', timestamp), count(*), sum(least(amount, 1e12)) from shop.{table} group by 2"
        )
    _find_customers()
    op.create_index("rejected_rejected_at", "rejected", ["rejected_at"], schema="shop")
    for name, query in VIEWS.items():
        op.execute(f"create view shop.{name} as {query}")


def _find_customers() -> None:
    for table in ("transactions", "fraud_transactions"):
        op.create_index(
            f"{table}_user_id",
            table,
            ["user_id"],
            schema="shop",
            postgresql_using="brin",
            postgresql_ops={"user_id": "text_bloom_ops(n_distinct_per_range=1200)"},
            postgresql_with={"pages_per_range": 16},
        )
        op.execute(
            f"alter table shop.{table} set (autovacuum_vacuum_insert_scale_factor = 0,"
            " autovacuum_vacuum_insert_threshold = 500000)"
        )


def _scores() -> None:
    op.create_table(
        "scores",
        sa.Column("transaction_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.Column("amount", sa.Double, nullable=False),
        sa.Column("risk", sa.Double, nullable=False),
        sa.Column("flagged", sa.Boolean, nullable=False),
        sa.Column("rules", ARRAY(sa.Text), nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("scored_at", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT, comment="When the transaction's message entered Kafka."),
        schema="shop",
    )
    for column in ("timestamp", "scored_at"):
        op.create_index(f"scores_{column}", "scores", [column], schema="shop", postgresql_using="brin")


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("transaction_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("timestamp", INSTANT, nullable=False),
        sa.Column("amount", sa.Double, nullable=False),
        sa.Column("device", sa.Text),
        sa.Column("location", sa.Text),
        sa.Column("transaction_location", sa.Text),
        sa.Column("merchant_id", sa.Text),
        sa.Column("currency", sa.Text),
        sa.Column("risk", sa.Double, nullable=False),
        sa.Column("rules", ARRAY(sa.Text), nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("scored_at", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT),
        sa.Column("stored_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column(
            "reasons",
            JSONB,
            nullable=False,
            comment="What contributed most: feature, contribution, sentence.",
        ),
        sa.Column("features", JSONB, nullable=False, comment="As the decision saw them."),
        schema="shop",
    )
    for column in ("scored_at", "stored_at", "timestamp"):
        op.create_index(f"alerts_{column}", "alerts", [column], schema="shop")
    op.create_index("alerts_user_id", "alerts", ["user_id", "timestamp"], schema="shop")


def downgrade() -> None:
    """Drop the decisions, with what they hold."""
    for name in reversed(VIEWS):
        op.execute(f"drop view shop.{name}")
    op.drop_index("rejected_rejected_at", "rejected", schema="shop")
    for table in ("transactions", "fraud_transactions"):
        op.drop_index(f"{table}_user_id", table, schema="shop")
        op.execute(
            f"alter table shop.{table} reset (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)"
        )
    for name in ("label_files", "stream_progress", "latency_bins", "risk_bins", "hourly", "alerts", "scores"):
        op.drop_table(name, schema="shop")
