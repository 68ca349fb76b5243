"""What comes in: trends, fraud against what is not known to be fraud, and the largest frauds."""

from panels import GREEN, RED, AnyPanel, Look, Page, bars, numbers, over_time, rows, within

HOURS = f"from shop.hourly where kind in ('transactions', 'fraud') and {within('hour', '1 hour')}"
COLORS: dict[str, dict[str, object]] = {"fraud": {"color": RED}, "not known as fraud": {"color": GREEN}}


def _figures() -> list[AnyPanel]:
    return [
        numbers(
            Look("Stored", "In the hours of the selected time.", 6, 4),
            f"select coalesce(sum(count), 0)::bigint as transactions {HOURS}",
        ),
        numbers(
            Look("Fraud", "Transactions reported as fraud by their messages.", 6, 4),
            f"select coalesce(sum(count) filter (where kind = 'fraud'), 0)::bigint as fraud {HOURS}",
            color=RED,
        ),
        numbers(
            Look(
                "Share of fraud", "As a share of all transactions in the selected time.", 6, 4, "percentunit"
            ),
            f"""
            select coalesce(sum(count) filter (where kind = 'fraud'), 0) / nullif(sum(count), 0) as share
            {HOURS}""",
            {"share": {"decimals": 2}},
            color=RED,
        ),
        numbers(
            Look("Money in fraud", "Sum of fraud amounts, regardless of currency.", 6, 4),
            f"select coalesce(sum(amount) filter (where kind = 'fraud'), 0) as amount {HOURS}",
            color=RED,
        ),
    ]


def _trends() -> list[AnyPanel]:
    return [
        over_time(
            Look("Transactions", "Count per interval of an hour or more.", 24),
            f"""
            select $__timeGroupAlias(hour, '$__interval'),
              sum(count) filter (where kind = 'transactions') as "not known as fraud",
              sum(count) filter (where kind = 'fraud') as fraud
            {HOURS}
            group by 1 order by 1""",
            COLORS,
            bars=True,
        ),
        over_time(
            Look("Share of fraud", "As a share of each interval's transactions.", unit="percentunit"),
            f"""
            select $__timeGroupAlias(hour, '$__interval'),
              coalesce(sum(count) filter (where kind = 'fraud'), 0) / sum(count) as fraud
            {HOURS}
            group by 1 order by 1""",
            COLORS,
        ),
        over_time(
            Look("Money", "Sum of amounts, regardless of currency."),
            f"""
            select $__timeGroupAlias(hour, '$__interval'),
              sum(amount) filter (where kind = 'transactions') as "not known as fraud",
              sum(amount) filter (where kind = 'fraud') as fraud
            {HOURS}
            group by 1 order by 1""",
            COLORS,
            bars=True,
        ),
    ]


def _frauds() -> list[AnyPanel]:
    return [
        rows(
            Look(
                "Top 5 fraudulent transactions",
                "The frauds with the largest amounts in the selected time.",
                24,
                7,
            ),
            """
            select "timestamp", transaction_id, user_id, amount, currency, location as home, transaction_location as place,
              device, merchant_id as merchant, fraud_scenario as kind
            from shop.fraud_transactions
            where $__timeFilter("timestamp")
            order by amount desc, transaction_id
            limit 5""",
            {"amount": {"decimals": 2, "color": RED}},
        ),
        bars(
            Look("Frauds by kind", "As named by the simulator; frauds from other sources have no name."),
            """
            select coalesce(nullif(fraud_scenario, ''), 'not named') as kind, count(*) as frauds
            from shop.fraud_transactions
            where $__timeFilter("timestamp")
            group by 1 order by 2 desc limit 15""",
            {"frauds": {"color": RED}},
        ),
        bars(
            Look("Share of fraud by the hour of the day", "UTC.", unit="percentunit"),
            f"""
            select to_char(hour at time zone 'UTC', 'HH24') as hour,
              coalesce(sum(count) filter (where kind = 'fraud'), 0) / sum(count) as fraud
            {HOURS}
            group by 1 order by 1""",
            COLORS,
        ),
    ]


PAGE = Page(
    "fraudstream-transactions",
    "Transactions",
    "Trends, fraud compared with what is not known to be fraud, and the largest frauds in the selected time.",
    "now-30d",
    "1m",
    (*_figures(), *_trends(), *_frauds()),
)
