-- A week of a small stream up to now: 20,000 transactions, 200 of them fraud, 300 alerts, half of them reviewed.
create temporary table stream as
select format('t-%s', n) as transaction_id, format('u-%s', n % 500) as user_id,
  now() - make_interval(secs => (20000 - n) * 30) as "timestamp", 10 + n % 997 as amount, n % 100 = 0 as fraud,
  n % 100 = 0 and n % 200 = 0 or n % 133 = 0 as flagged, case when n % 4 = 1 then 'm-2' else 'm-1' end as model
from generate_series(1, 20000) as n;

insert into shop.transactions (transaction_id, user_id, "timestamp", amount, device, location, transaction_location,
  first_name, last_name, full_name, email, is_fraud)
select transaction_id, user_id, "timestamp", amount, 'phone', 'Oslo', 'Oslo', 'Ada', 'Byron', 'Ada Byron', 'ada@example.org', false
from stream where not fraud;
insert into shop.fraud_transactions (transaction_id, user_id, "timestamp", amount, device, location, transaction_location,
  full_name, email, merchant_id, currency, is_fraud, fraud_scenario)
select transaction_id, user_id, "timestamp", amount * 10, 'phone', 'Oslo', 'Lima', 'Ada Byron', 'ada@example.org', 'shop-7', 'EUR', true,
  case when amount > 500 then 'card_testing' else 'account_takeover' end
from stream where fraud;

-- As their risks are: uniform, so nothing drifts. The second model has other bins, and a quarter of the decisions.
insert into shop.models (version, status, promoted_at, algorithm, manifest, artifact, sha256)
select version, status, now(), 'gradient_boosting', jsonb_build_object('threshold', 0.9,
    'metrics', jsonb_build_object('average_precision', 0.7, 'card_precision_100', 0.3),
    'score_reference', jsonb_build_object('rows', 5000, 'edges', edges, 'shares', shares)), '', ''
from (values ('m-1', 'retired', array[0.1, 0.3, 0.6], array[0.1, 0.2, 0.3, 0.4]),
  ('m-2', 'champion', array[0.7], array[0.7, 0.3])) as m (version, status, edges, shares);
insert into shop.scores (transaction_id, user_id, "timestamp", amount, risk, flagged, rules, model_version, scored_at, sent_at)
select transaction_id, user_id, "timestamp", amount, random(), flagged, '{}', model, "timestamp",
  "timestamp" - make_interval(secs => 0.005 + random() / 50)
from stream;
insert into shop.alerts (transaction_id, user_id, "timestamp", amount, risk, rules, model_version, scored_at, reasons, features)
select transaction_id, user_id, "timestamp", amount, 0.95,
  case when amount > 500 then array['velocity', 'impossible_travel'] else '{}' end, model, "timestamp",
  '[{"feature": "amount", "contribution": 0.4, "value": 900, "sentence": "amount 900.00 is 12 times the usual 75.00"}]', '{}'
from stream where flagged;
insert into shop.labels (transaction_id, is_fraud, labelled_at, labelled_by)
select a.transaction_id, turn = 2 and f.transaction_id is not null, a.scored_at + make_interval(mins => 20 * turn), 'anna'
from shop.alerts as a left join shop.fraud_transactions as f using (transaction_id), generate_series(1, 2) as turn
where a.amount > 400;

insert into shop.hourly (kind, hour, count, amount)
select kind, date_trunc('hour', "timestamp"), count(*), sum(amount)
from (
  select 'transactions' as kind, "timestamp", amount from stream where not fraud
  union all select 'fraud', "timestamp", amount from stream where fraud
  union all select 'scores', "timestamp", amount from stream
  union all select 'alerts', "timestamp", amount from stream where flagged
) as counted group by 1, 2;
insert into shop.risk_bins (model_version, hour, bin, count)
select model_version, date_trunc('hour', scored_at),
  width_bucket(risk, case model_version when 'm-1' then array[0.1, 0.3, 0.6] else array[0.7] end), count(*)
from shop.scores group by 1, 2, 3;
insert into shop.latency_bins (minute, bin, count)
select date_trunc('minute', scored_at), floor(50 * ln(extract(epoch from scored_at - sent_at))), count(*)
from shop.scores group by 1, 2;

insert into shop.stream_progress (stream, topic, partition, next_offset, end_offset, rows_per_second)
select stream, 'transactions-data', partition, 100, 100 + 7 * partition, 512.5
from unnest(array['consume', 'score']) as stream, generate_series(0, 3) as partition;
insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset)
select target, 'transactions-data', 'uuid', partition, 100
from unnest(array['transactions', 'fraud', 'profiles']) as target, generate_series(0, 3) as partition;
insert into shop.rejected (topic, topic_id, partition, "offset", value, reason, rejected_at)
select 'transactions-data', 'uuid', n % 4, n, 'Ada', case n % 3 when 0 then 'not JSON: unexpected character at byte ' || n else 'amount: not a number' end,
  now() - make_interval(mins => n)
from generate_series(1, 300) as n;
analyze;
