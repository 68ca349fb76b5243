"""What was flagged, how often that was right, and whether the data still look like those the model was trained on."""

from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.models.dashboard import VariableRefresh
from panels import (
    BLUE,
    GREEN,
    GREY,
    RED,
    SOURCE,
    AnyPanel,
    Look,
    Page,
    bars,
    limits,
    numbers,
    over_time,
    rows,
    within,
)
from reviews import BY_THE_MESSAGES, CHOSEN, FLAGGED, JUDGED, KNOWN, OF_MODEL, REVIEWED, SAID

HOURS = within("hour", "1 hour")
UNLESS = "None if only frauds were labelled in the selected time, because the share of false alarms is then unknown."
VERDICTS: dict[str, dict[str, object]] = {
    "confirmed": {"color": RED},
    "dismissed": {"color": GREEN},
    "waiting": {"color": GREY},
}
NOTABLE, LARGE = 0.1, 0.25
"""Of the population stability index, as the field reads it: below 0.1 nothing moved, from 0.25 on much did."""


def _models() -> QueryVariable:
    """Which models to look at."""
    versions = (
        QueryVariable("model")
        .label("Model")
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    query = "select version from shop.models order by created_at desc"
    return versions.query(query).multi(True).include_all(True).all_value(".*")


def _figures() -> list[AnyPanel]:
    return [
        numbers(
            Look("Alerts", "Decisions that flagged a transaction.", 4, 4),
            f"select count(*) as alerts from shop.alerts where {CHOSEN}",
        ),
        numbers(
            Look(
                "Alert rate",
                "Share of decisions that flagged a transaction; all models.",
                4,
                4,
                "percentunit",
            ),
            f"""
            select coalesce(sum(count) filter (where kind = 'alerts'), 0)
              / nullif(sum(count) filter (where kind = 'scores'), 0) as rate
            from shop.hourly where kind in ('scores', 'alerts') and {HOURS}""",
            {"rate": {"decimals": 2}},
        ),
        numbers(
            Look("Precision", f"Share of the reviewed alerts that were fraud. {UNLESS}", 4, 4, "percentunit"),
            f"""
            with {FLAGGED}, {SAID}
            select {REVIEWED} as precision
            from said""",
        ),
        numbers(
            Look(
                "Precision by the messages",
                f"The same, using the truth that came with the messages. {UNLESS}",
                4,
                4,
                "percentunit",
            ),
            f"""
            with {FLAGGED}, {KNOWN}
            select {BY_THE_MESSAGES} as precision
            from known""",
        ),
        numbers(
            Look("Waiting", "Alerts that nobody has reviewed.", 4, 4),
            f"""
            select count(*) as waiting from shop.alerts as a where {CHOSEN}
              and not exists (select from shop.labels as l where l.transaction_id = a.transaction_id)""",
        ),
        numbers(
            Look(
                "Time to review",
                "Median time from the decision to a later label that set the current verdict.",
                4,
                4,
                "s",
            ),
            f"""
            with {FLAGGED}, {JUDGED}
            select percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)) as median
            from flagged join judged using (transaction_id) where judged_at >= scored_at""",
        ),
    ]


def _alerts() -> list[AnyPanel]:
    return [
        over_time(
            Look(
                "Alert rate",
                "Share of decisions that flagged a transaction, by the transactions' own time.",
                unit="percentunit",
            ),
            f"""
            select $__timeGroupAlias(hour, '$__interval'),
              coalesce(sum(count) filter (where kind = 'alerts'), 0)
                / nullif(sum(count) filter (where kind = 'scores'), 0) as "alert rate"
            from shop.hourly where kind in ('scores', 'alerts') and {HOURS}
            group by 1 order by 1""",
        ),
        over_time(
            Look("Alerts by model", "By decision time."),
            f"""
            select $__timeGroupAlias(scored_at, '$__interval'), model_version as metric, count(*) as alerts
            from shop.alerts where {CHOSEN}
            group by 1, 2 order by 1, 2""",
            bars=True,
        ),
        bars(
            Look(
                "Alerts by rule",
                "An alert counts for every rule that matched; the rest were flagged by the model alone.",
            ),
            f"""
            select rule, count(*) as alerts
            from shop.alerts
            cross join unnest(case when cardinality(rules) = 0 then array['the model alone'] else rules end) as rule
            where {CHOSEN}
            group by 1 order by 2 desc, 1 limit 15""",
        ),
        bars(
            Look(
                "Frauds caught, by kind",
                "How many of the scored frauds that messages reported in the selected time were flagged.",
            ),
            # One look into the index for each fraud: with a plain join PostgreSQL reads every decision there is.
            """
            select coalesce(nullif(f.fraud_scenario, ''), 'not named') as kind,
              count(*) filter (where s.flagged) as caught, count(*) filter (where not s.flagged) as missed
            from shop.fraud_transactions as f
            cross join lateral (select flagged from shop.scores where transaction_id = f.transaction_id limit 1) as s
            where $__timeFilter(f."timestamp")
            group by 1 order by count(*) desc limit 15""",
            {"caught": {"color": GREEN}, "missed": {"color": RED}},
        ),
    ]


def _quality() -> list[AnyPanel]:
    return [
        over_time(
            Look("Reviews", "What became of the alerts of each day.", 8),
            f"""
            with {FLAGGED}, {SAID}, every as (
              select scored_at, verdict, 0 as waiting from said union all select scored_at, null, 1 from flagged
            )
            select $__timeGroupAlias(scored_at, '$__interval'), count(*) filter (where verdict) as confirmed,
              count(*) filter (where not verdict) as dismissed, sum(waiting)::bigint - count(verdict) as waiting
            from every
            group by 1 order by 1""",
            VERDICTS,
            interval="1d",
            bars=True,
        ),
        over_time(
            Look(
                "Precision",
                f"Share of each day's reviewed alerts that were fraud. {UNLESS}",
                8,
                unit="percentunit",
            ),
            f"""
            with {FLAGGED}, {SAID}, {KNOWN}, every as (
              select scored_at, verdict, null::boolean as truth from said
              union all select scored_at, null, truth from known
              union all select scored_at, null, null from flagged
            )
            select $__timeGroupAlias(scored_at, '$__interval'),
              {REVIEWED} as reviewed,
              {BY_THE_MESSAGES} as "by the messages"
            from every
            group by 1 order by 1""",
            interval="1d",
        ),
        over_time(
            Look(
                "Label delay",
                "Median time from the decision to a later label that set the current verdict, for each day's alerts.",
                8,
                unit="s",
            ),
            f"""
            with {FLAGGED}, {JUDGED}
            select $__timeGroupAlias(scored_at, '$__interval'),
              percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)) as median
            from flagged join judged using (transaction_id) where judged_at >= scored_at
            group by 1 order by 1""",
            interval="1d",
        ),
    ]


def _model() -> list[AnyPanel]:
    psi = over_time(
        Look(
            "Drift of the risks",
            "Population stability index relative to training; 0 if chance alone could explain it."
            " Above 0.1 investigate, above 0.25 act.",
        ),
        f"""
        select day as "time", model_version as metric,
          case when psi > 3 * coalesce(psi_by_chance, 0) then psi else 0 end as psi
        from shop.score_drift where {within("day", "1 day")} and {OF_MODEL}
        order by 1, 2""",
        interval="1d",
    )
    return [
        limits(psi, (NOTABLE, "orange"), (LARGE, RED)),
        bars(
            Look(
                "Risks",
                "Share of the decisions in each twentieth of the training risks, lowest first.",
                unit="percentunit",
            ),
            f"""
            with seen as (
              select model_version, bin, sum(count) as count from shop.risk_bins
              where {HOURS} and {OF_MODEL} group by 1, 2
            ), expected as (
              select m.version as model_version, e.place::int - 1 as bin,
                e.share::float8 * (select sum(count) from seen where model_version = m.version) as count
              from shop.models as m, jsonb_array_elements_text(m.manifest -> 'score_reference' -> 'shares')
                with ordinality as e (share, place)
              where m.version in (select model_version from seen)
            )
            select to_char(bin + 1, 'FM00') as bin, coalesce(sum(seen.count), 0) / (select sum(count) from seen) as now,
              sum(expected.count) / (select sum(count) from seen) as training
            from expected left join seen using (model_version, bin)
            group by 1 order by 1""",
            {"now": {"color": BLUE}, "training": {"color": GREY}},
        ),
        rows(
            Look(
                "Models",
                "The newest ten, evaluated on transactions later than those they were trained on.",
                24,
                7,
            ),
            """
            select version, status, algorithm, created_at, promoted_at, (manifest ->> 'threshold')::float8 as threshold,
              (manifest #>> '{metrics,average_precision}')::float8 as "average precision",
              (manifest #>> '{metrics,card_precision_100}')::float8 as "card precision at 100"
            from shop.models order by created_at desc limit 10""",
        ),
    ]


def _newest() -> list[AnyPanel]:
    return [
        rows(
            Look("Newest alerts", "With the strongest reason and the verdict.", 24, 10),
            f"""
            select scored_at, transaction_id, user_id, amount, risk, array_to_string(rules, ', ') as rules,
              reasons -> 0 ->> 'sentence' as reason,
              case verdict when true then 'fraud' when false then 'legitimate' else 'waiting' end as verdict
            from shop.alert_reviews where {CHOSEN}
            order by scored_at desc limit 20""",
            {"amount": {"decimals": 2}, "risk": {"decimals": 3}, "reason": {"custom.width": 600}},
        )
    ]


PAGE = Page(
    "fraudstream-alerts",
    "Alerts and model quality",
    "What was flagged, how often that was right, and whether the data still look like those the model was trained on.",
    "now-30d",
    "5m",
    (*_figures(), *_alerts(), *_quality(), *_model(), *_newest()),
    (_models(),),
)
