"""Whether everything flows: how far behind each stream is, how long a decision takes, what could not be read."""

from panels import RED, AnyPanel, Look, Page, gauges, limits, numbers, over_time, rows

from fraudstream.store.pipeline import ALIKE
from fraudstream.store.progress import SILENT_SECONDS

LATELY = f"interval '{SILENT_SECONDS:g} s'"
SILENT, DEAD = 30, 120
"""Seconds: streams report every five."""
BEHIND, FAR_BEHIND = 10_000, 1_000_000
SLOW, TOO_SLOW = 100, 1_000
"""Milliseconds; a decision should take less than 100 ms in 99 of 100 cases."""


def _streams() -> list[AnyPanel]:
    return [
        gauges(
            Look(
                "Last report",
                "Seconds since each stream last reported its position; streams report every five.",
                8,
                unit="s",
            ),
            """
            select stream, extract(epoch from now() - max(updated_at)) as age
            from shop.stream_progress group by 1 order by 1""",
            (SILENT, "orange"),
            (DEAD, RED),
        ),
        gauges(
            Look("Rows per second", "For each stream, as last reported; 0 if it is not running.", 8),
            f"""
            select stream, coalesce(max(rows_per_second) filter (where updated_at >= now() - {LATELY}), 0) as rate
            from shop.stream_progress group by 1 order by 1""",
        ),
        gauges(
            Look("Lag by partition", "Messages waiting in Kafka for each stream, running or not.", 8),
            f"""
            with heard as (
              select stream, topic, partition, next_offset, end_offset, updated_at,
                max(updated_at) over (partition by topic, partition) as last from shop.stream_progress
            ), ends as (
              select stream, topic, partition, next_offset, updated_at,
                max(end_offset) filter (where updated_at >= last - {LATELY})
                  over (partition by topic, partition) as the_end
              from heard
            )
            select format('%s: %s/%s', stream, topic, partition) as partition,
              -- As `health` says it: a stopped stream beyond the end has a topic made anew before it, all of which waits.
              case when the_end >= next_offset then the_end - next_offset
                when updated_at >= now() - {LATELY} then 0 else the_end end as lag
            from ends order by stream, topic, ends.partition""",
            (BEHIND, "orange"),
            (FAR_BEHIND, RED),
        ),
    ]


def _decisions() -> list[AnyPanel]:
    latency = over_time(
        Look("Time to a decision", "From Kafka to the decision, accurate to 1 %.", unit="ms"),
        """
        with steps as (
          select $__timeGroupAlias(minute, '$__interval'), bin, sum(count) as count
          from shop.latency_bins where $__timeFilter(minute) group by 1, 2
        ), running as (
          select time, bin, sum(count) over (partition by time order by bin) as below,
            sum(count) over (partition by time) as decisions from steps
        )
        select time,
          exp(min(bin) filter (where below >= 0.50 * decisions) / 50.0::float8) * 1000 as p50,
          exp(min(bin) filter (where below >= 0.95 * decisions) / 50.0::float8) * 1000 as p95,
          exp(min(bin) filter (where below >= 0.99 * decisions) / 50.0::float8) * 1000 as p99
        from running group by 1 order by 1""",
        interval="1m",
    )
    return [
        limits(latency, (SLOW, "orange"), (TOO_SLOW, RED)),
        over_time(
            Look("Decisions per second", "Averaged over each interval."),
            """
            select $__timeGroupAlias(minute, '$__interval'), sum(count) * 1000.0 / $__interval_ms as decisions
            from shop.latency_bins where $__timeFilter(minute)
            group by 1 order by 1""",
            interval="1m",
        ),
    ]


def _rejected() -> list[AnyPanel]:
    return [
        numbers(
            Look("Rejected", "Messages that could not be read; `fraudstream rejected list` shows them.", 4),
            "select count(*) as rejected from shop.rejected where $__timeFilter(rejected_at)",
            color=RED,
        ),
        over_time(
            Look("Rejected messages", "By the time they were read."),
            """
            select $__timeGroupAlias(rejected_at, '$__interval'), topic as metric, count(*) as rejected
            from shop.rejected where $__timeFilter(rejected_at)
            group by 1, 2 order by 1, 2""",
            interval="1m",
            bars=True,
        ),
        rows(
            Look("Why", "The most frequent reasons.", 8),
            f"""
            select {ALIKE} as reason, count(*) as messages, max(rejected_at) as last
            from shop.rejected where $__timeFilter(rejected_at)
            group by 1 order by 2 desc, 1 limit 10""",
        ),
    ]


def _offsets() -> list[AnyPanel]:
    return [
        rows(
            Look(
                "What is stored",
                "Every message below the offset is in the target, and none at or above it.",
                24,
                9,
            ),
            """
            select target, topic, partition, next_offset, updated_at, extract(epoch from now() - updated_at) as age
            from shop.stream_offsets order by target, topic, partition, updated_at""",
            {"age": {"unit": "s"}},
        )
    ]


PAGE = Page(
    "fraudstream-pipeline",
    "Pipeline health",
    "How far behind each stream is, how long a decision takes, and what could not be read.",
    "now-1h",
    "10s",
    (*_streams(), *_decisions(), *_rejected(), *_offsets()),
)
