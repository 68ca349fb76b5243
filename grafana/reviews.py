"""SQL for what became of the alerts, as `shop.alert_reviews` has it, by joins: the view looks up the labels of each alert.

Of a million alerts a dashboard of such lookups took two minutes, and one of joins takes 26 s.
"""


def _share(said: str, legitimate_known: str) -> str:
    """Of fraud among the alerts of which `said` says something, if anything at all is known to be legitimate."""
    return f"""case when count(*) filter (where not {said}) > 0 or exists ({legitimate_known})
                then count(*) filter (where {said})::float8 / nullif(count({said}), 0) end"""


OF_MODEL = "model_version ~ '^(${model:regex})$'"
"""A pattern, as a list of no models would be no SQL."""
CHOSEN = f"$__timeFilter(scored_at) and {OF_MODEL}"
REVIEWED = _share(
    "verdict",
    """
                select from shop.labels as l where not l.is_fraud and $__timeFilter(l.labelled_at) and not exists (
                  select from shop.labels as o where o.transaction_id = l.transaction_id and o.is_fraud
                  and (o.labelled_at, o.label_id) > (l.labelled_at, l.label_id))""",
)
BY_THE_MESSAGES = _share(
    "truth",
    # Who sends the truth sends it with every message; without one of them a month would be read to its end.
    """
                select from (select is_fraud from shop.transactions where $__timeFilter("timestamp") limit 1000) as few
                where not is_fraud""",
)

FLAGGED = f"""flagged as (
              select transaction_id, scored_at from shop.alerts where {CHOSEN}
            )"""
SAID = """said as (
              select distinct on (transaction_id) transaction_id, scored_at, is_fraud as verdict
              from flagged join shop.labels using (transaction_id)
              order by transaction_id, labelled_at desc, label_id desc
            )"""
"""The last label of each alert that has one."""
JUDGED = """judged as (
              select distinct on (transaction_id) transaction_id, labelled_at as judged_at
              from (
                select transaction_id, is_fraud, labelled_at, label_id, lag(is_fraud)
                  over (partition by transaction_id order by labelled_at, label_id) as before
                from shop.labels where transaction_id in (select transaction_id from flagged)
              ) as l where is_fraud is distinct from before  -- one that repeats the verdict makes it no later
              order by transaction_id, labelled_at desc, label_id desc
            )"""
"""The time of the first label of each alert's current verdict."""
KNOWN = """known as (
              select scored_at, true as truth from flagged where exists (
                select from shop.fraud_transactions as f where f.transaction_id = flagged.transaction_id and f.is_fraud)
              union all
              select scored_at, false from flagged where exists (
                select from shop.transactions as t where t.transaction_id = flagged.transaction_id and not t.is_fraud)
              and not exists (
                select from shop.fraud_transactions as f where f.transaction_id = flagged.transaction_id)
            )"""
"""What the messages say of each alert. Not joined, as an id may be stored twice where the tables are divided by month."""
