-- The reference pipeline: payment transactions from raw events to four tables. ksqlDB 7.5 and later (MD5, RETENTION_MS).
-- demo/load.py runs it statement by statement, with auto.offset.reset = earliest.
--
-- Event times lie in the past and the broker deletes by event time, so every stream asks for ten years of retention;
-- without it old records vanish within minutes, also from derived streams.

CREATE STREAM transaction_stream (
  transaction_id STRING KEY,
  user STRUCT<user_id STRING, name STRING, email STRING, country STRING, city STRING>,
  transaction_type STRING,
  amount DECIMAL(12, 2),
  currency STRING,
  payment_method STRING,
  products ARRAY<STRUCT<
    product_id STRING, name STRING, category STRING, unit_price DECIMAL(10, 2), quantity INTEGER
  >>,
  tags MAP<STRING, STRING>,
  event_time TIMESTAMP
) WITH (
  KAFKA_TOPIC = 'transactions', PARTITIONS = 3, RETENTION_MS = 315360000000,
  KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', TIMESTAMP = 'event_time'
);

-- A stream-table join misses rows that come before the table's: fill these two tables first.
CREATE TABLE exchange_rates (currency STRING PRIMARY KEY, eur_rate DECIMAL(18, 8))
WITH (KAFKA_TOPIC = 'exchange_rates', PARTITIONS = 3, VALUE_FORMAT = 'JSON');

CREATE TABLE blacklisted_cities (city STRING PRIMARY KEY, reason STRING)
WITH (KAFKA_TOPIC = 'blacklisted_cities', PARTITIONS = 3, VALUE_FORMAT = 'JSON');

-- GROUP BY skips rows whose key is NULL: a payment method that is not given is called 'unknown'.
CREATE STREAM transaction_flattened
WITH (KAFKA_TOPIC = 'transaction_flattened', RETENTION_MS = 315360000000, VALUE_FORMAT = 'JSON') AS
SELECT
  transaction_id,
  user->user_id AS user_id,
  user->name AS user_name,
  user->email AS user_email,
  user->country AS user_country,
  user->city AS user_city,
  transaction_type,
  amount,
  currency,
  COALESCE(payment_method, 'unknown') AS payment_method,
  ARRAY_LENGTH(products) AS product_count,
  event_time
FROM transaction_stream
EMIT CHANGES;

-- No name, address or city; the user only as a hash. A CAST of NULL logs an error: the CASE keeps the log quiet.
CREATE STREAM transaction_stream_anonymized
WITH (KAFKA_TOPIC = 'transaction_stream_anonymized', RETENTION_MS = 315360000000, VALUE_FORMAT = 'JSON') AS
SELECT
  t.currency AS currency,
  transaction_id,
  MD5(user_id) AS user_hash,
  user_country,
  transaction_type,
  amount,
  CASE
    WHEN r.eur_rate IS NULL THEN CAST(NULL AS DECIMAL(14, 2))
    ELSE CAST(amount * r.eur_rate AS DECIMAL(14, 2))
  END AS amount_eur,
  r.eur_rate AS exchange_rate,
  payment_method,
  event_time
FROM transaction_flattened t
LEFT JOIN exchange_rates r ON t.currency = r.currency
EMIT CHANGES;

CREATE STREAM transaction_stream_blacklisted
WITH (KAFKA_TOPIC = 'transaction_stream_blacklisted', RETENTION_MS = 315360000000, VALUE_FORMAT = 'JSON') AS
SELECT
  t.user_city AS user_city,
  transaction_id,
  user_id,
  user_name,
  user_country,
  amount,
  currency,
  b.reason AS reason,
  event_time
FROM transaction_flattened t
JOIN blacklisted_cities b ON t.user_city = b.city
EMIT CHANGES;

-- Two key columns need KEY_FORMAT = 'JSON'. SUM keeps the precision of its argument, so it is cast wider first;
-- AVG does not take DECIMAL.
CREATE TABLE user_transaction_summary
WITH (KAFKA_TOPIC = 'user_transaction_summary', KEY_FORMAT = 'JSON', VALUE_FORMAT = 'JSON') AS
SELECT
  user_id,
  transaction_type,
  LATEST_BY_OFFSET(user_name) AS user_name,
  LATEST_BY_OFFSET(user_email) AS user_email,
  LATEST_BY_OFFSET(user_country) AS user_country,
  LATEST_BY_OFFSET(user_city) AS user_city,
  SUM(CAST(amount AS DECIMAL(18, 2))) AS total_amount,
  COUNT(*) AS transaction_count,
  CAST(AVG(CAST(amount AS DOUBLE)) AS DECIMAL(18, 4)) AS avg_amount,
  MIN(amount) AS min_amount,
  MAX(amount) AS max_amount,
  MAX(event_time) AS last_transaction_date
FROM transaction_flattened
GROUP BY user_id, transaction_type
EMIT CHANGES;

CREATE TABLE payment_method_totals
WITH (KAFKA_TOPIC = 'payment_method_totals', VALUE_FORMAT = 'JSON') AS
SELECT
  payment_method,
  SUM(CAST(amount AS DECIMAL(18, 2))) AS total_amount,
  COUNT(*) AS transaction_count,
  CAST(AVG(CAST(amount AS DOUBLE)) AS DECIMAL(18, 4)) AS avg_amount
FROM transaction_flattened
GROUP BY payment_method
EMIT CHANGES;

-- EXPLODE needs a stream of its own before GROUP BY.
CREATE STREAM transaction_products
WITH (KAFKA_TOPIC = 'transaction_products', RETENTION_MS = 315360000000, VALUE_FORMAT = 'JSON') AS
SELECT transaction_id, user->user_id AS user_id, EXPLODE(products) AS product, event_time
FROM transaction_stream
EMIT CHANGES;

CREATE TABLE product_purchase_counts
WITH (KAFKA_TOPIC = 'product_purchase_counts', VALUE_FORMAT = 'JSON') AS
SELECT
  product->product_id AS product_id,
  LATEST_BY_OFFSET(product->name) AS product_name,
  LATEST_BY_OFFSET(product->category) AS product_category,
  SUM(product->quantity) AS purchase_count,
  SUM(CAST(product->unit_price * product->quantity AS DECIMAL(18, 2))) AS total_revenue,
  CAST(AVG(CAST(product->unit_price AS DOUBLE)) AS DECIMAL(18, 4)) AS avg_price,
  COUNT_DISTINCT(user_id) AS unique_buyers
FROM transaction_products
GROUP BY product->product_id
EMIT CHANGES;

CREATE STREAM transaction_eur
WITH (KAFKA_TOPIC = 'transaction_eur', RETENTION_MS = 315360000000, VALUE_FORMAT = 'JSON') AS
SELECT
  t.currency AS currency,
  transaction_id,
  user_id,
  user_name,
  user_email,
  user_country,
  user_city,
  transaction_type,
  CAST(amount * r.eur_rate AS DECIMAL(14, 2)) AS amount_eur,
  r.eur_rate AS exchange_rate
FROM transaction_flattened t
JOIN exchange_rates r ON t.currency = r.currency
EMIT CHANGES;

CREATE TABLE user_transaction_summary_eur
WITH (KAFKA_TOPIC = 'user_transaction_summary_eur', KEY_FORMAT = 'JSON', VALUE_FORMAT = 'JSON') AS
SELECT
  user_id,
  transaction_type,
  LATEST_BY_OFFSET(user_name) AS user_name,
  LATEST_BY_OFFSET(user_email) AS user_email,
  LATEST_BY_OFFSET(user_country) AS user_country,
  LATEST_BY_OFFSET(user_city) AS user_city,
  SUM(CAST(amount_eur AS DECIMAL(18, 2))) AS total_amount_eur,
  COUNT(*) AS transaction_count,
  CAST(AVG(CAST(amount_eur AS DOUBLE)) AS DECIMAL(18, 4)) AS avg_amount_eur,
  LATEST_BY_OFFSET(exchange_rate) AS exchange_rate
FROM transaction_eur
GROUP BY user_id, transaction_type
EMIT CHANGES;
