-- Questions that the star schema answers. They use the views of 05_views.sql. Each runs on its own, with its SET; all:
--   mysql -u root -p < sql/04_sample_queries.sql
-- current_* views show the current snapshot, snapshot_days names each day's snapshot, fact tables hold all of them.

USE data_warehouse;

-- top_users: Who are the ten users with the most transactions, and what are they worth?
SELECT u.user_id, u.user_name, u.user_country,
  SUM(s.transaction_count) AS transactions,
  SUM(e.total_amount_eur) AS total_eur
FROM current_user_transaction_summary AS s
LEFT JOIN current_user_transaction_summary_eur AS e
  ON e.user_id = s.user_id
  AND e.transaction_type = s.transaction_type
JOIN dim_users AS u ON u.user_id = s.user_id
GROUP BY u.user_id, u.user_name, u.user_country
ORDER BY transactions DESC, u.user_id
LIMIT 10;

-- transaction_types: How do the transaction types compare?
SELECT s.transaction_type,
  COUNT(*) AS users,
  SUM(s.transaction_count) AS transactions,
  SUM(s.total_amount) AS total_amount,
  ROUND(SUM(s.total_amount) / SUM(s.transaction_count), 2) AS avg_amount,
  MIN(s.min_amount) AS smallest,
  MAX(s.max_amount) AS largest
FROM current_user_transaction_summary AS s
GROUP BY s.transaction_type
ORDER BY transactions DESC, s.transaction_type;

-- payment_shares: Which payment methods carry which share, and which of them has nobody described yet?
SELECT m.payment_method_id, m.display_name, m.is_known, p.transaction_count, p.total_amount,
  ROUND(100 * p.transaction_count / SUM(p.transaction_count) OVER (), 1) AS percent_of_transactions
FROM current_payment_method_totals AS p
JOIN dim_payment_methods AS m ON m.payment_method_id = p.payment_method_id
ORDER BY p.transaction_count DESC, m.payment_method_id;

-- top_products: Which products bring the most revenue, overall and within their category?
SELECT k.product_id, k.product_name, k.product_category, k.purchase_count, k.total_revenue, k.unique_buyers,
  k.revenue_rank, k.rank_in_category, k.percent_of_revenue
FROM product_ranking AS k
ORDER BY k.revenue_rank, k.product_id
LIMIT 20;

-- eur_against_original: What is in EUR, against the original currencies, and which transactions had no rate?
SELECT s.user_id, s.transaction_type, s.transaction_count,
  s.total_amount AS original_amount,
  e.total_amount_eur,
  s.transaction_count - COALESCE(e.transaction_count, 0) AS transactions_without_rate
FROM current_user_transaction_summary AS s
LEFT JOIN current_user_transaction_summary_eur AS e
  ON e.user_id = s.user_id
  AND e.transaction_type = s.transaction_type
ORDER BY transactions_without_rate DESC, s.user_id, s.transaction_type
LIMIT 20;

-- rfm_segments: How recently, how often and for how much do users buy, in segments?
SELECT k.segment,
  COUNT(*) AS users,
  SUM(k.transactions) AS transactions,
  SUM(k.total_eur) AS total_eur
FROM user_segments AS k
GROUP BY k.segment
ORDER BY users DESC, k.segment;

-- countries: How many users are in which country, how active, how valuable?
SELECT COALESCE(u.user_country, '(not told)') AS country,
  COUNT(DISTINCT u.user_id) AS users,
  SUM(e.transaction_count) AS transactions,
  SUM(e.total_amount_eur) AS total_eur,
  ROUND(SUM(e.total_amount_eur) / COUNT(DISTINCT u.user_id), 2) AS eur_per_user
FROM current_user_transaction_summary_eur AS e
JOIN dim_users AS u ON u.user_id = e.user_id
GROUP BY country
ORDER BY total_eur DESC, country;

-- cohorts: Of the users first seen in a month, how many did something in that and in each later month?
-- The first cohort also holds everybody from before the history.
SELECT t.cohort, t.calendar_month,
  COUNT(*) AS users,
  SUM(t.active_days > 0) AS active_users,
  ROUND(100 * SUM(t.active_days > 0) / COUNT(*), 1) AS percent_active
FROM (
  SELECT a.user_id,
    DATE_FORMAT(a.snapshot_date, '%Y-%m') AS calendar_month,
    COUNT(CASE WHEN a.new_transactions > 0 THEN 1 END) AS active_days,
    MIN(DATE_FORMAT(MIN(a.snapshot_date), '%Y-%m')) OVER (PARTITION BY a.user_id) AS cohort
  FROM user_activity_by_snapshot AS a
  GROUP BY a.user_id, DATE_FORMAT(a.snapshot_date, '%Y-%m')
) AS t
GROUP BY t.cohort, t.calendar_month
ORDER BY t.cohort, t.calendar_month;

-- growth: How did the totals grow from each day to the next?
SELECT k.snapshot_date,
  SUM(k.transaction_count) AS transactions,
  SUM(k.new_transactions) AS new_transactions,
  SUM(k.total_amount) AS total_amount,
  SUM(k.new_amount) AS new_amount
FROM payment_method_growth AS k
GROUP BY k.snapshot_date
ORDER BY k.snapshot_date;

-- month_over_month: How many transactions did each month bring, and how does it compare to the month before?
WITH months AS (
  SELECT DATE_FORMAT(d.snapshot_date, '%Y-%m') AS calendar_month, d.snapshot_version,
    ROW_NUMBER() OVER (PARTITION BY DATE_FORMAT(d.snapshot_date, '%Y-%m') ORDER BY d.snapshot_date DESC) AS place
  FROM snapshot_days AS d
  WHERE d.fact_table = 'fact_payment_method_totals'
),
totals AS (
  SELECT t.calendar_month,
    SUM(p.transaction_count) AS transactions,
    SUM(p.total_amount) AS total_amount
  FROM months AS t
  JOIN fact_payment_method_totals AS p ON p.snapshot_version = t.snapshot_version
  WHERE t.place = 1
  GROUP BY t.calendar_month
),
growth AS (
  SELECT t.calendar_month,
    t.transactions - LAG(t.transactions) OVER (ORDER BY t.calendar_month) AS new_transactions,
    t.total_amount - LAG(t.total_amount) OVER (ORDER BY t.calendar_month) AS new_amount
  FROM totals AS t
)
SELECT t.calendar_month, t.new_transactions, t.new_amount,
  ROUND(100 * t.new_transactions / LAG(t.new_transactions) OVER (ORDER BY t.calendar_month) - 100, 1) AS percent_more
FROM growth AS t
ORDER BY t.calendar_month;

-- payment_growth: How did each payment method grow on each of the last seven days?
SELECT k.payment_method_id, k.snapshot_date, k.transaction_count, k.new_transactions, k.new_amount
FROM payment_method_growth AS k
WHERE k.days_back < 7
ORDER BY k.payment_method_id, k.snapshot_date;

-- fastest_growing: Which users did the most in the last seven days?
WITH days AS (
  SELECT MAX(CASE WHEN d.days_back = 0 THEN d.snapshot_version END) AS now_version,
    MAX(CASE WHEN d.days_back = 7 THEN d.snapshot_version END) AS then_version
  FROM snapshot_days AS d
  WHERE d.fact_table = 'fact_user_transaction_summary'
)
SELECT s.user_id,
  SUM(s.transaction_count - COALESCE(s0.transaction_count, 0)) AS new_transactions,
  SUM(s.total_amount - COALESCE(s0.total_amount, 0)) AS new_amount
FROM days AS d
JOIN fact_user_transaction_summary AS s ON s.snapshot_version = d.now_version
LEFT JOIN fact_user_transaction_summary AS s0
  ON s0.snapshot_version = d.then_version
  AND s0.user_id = s.user_id
  AND s0.transaction_type = s.transaction_type
WHERE d.then_version IS NOT NULL
GROUP BY s.user_id
ORDER BY new_transactions DESC, s.user_id
LIMIT 10;

-- one_user: What did one user do on each day?
SET @user = (
  SELECT s.user_id
  FROM current_user_transaction_summary AS s
  ORDER BY s.transaction_count DESC, s.user_id
  LIMIT 1
);
SELECT a.user_id, a.snapshot_date, a.transactions, a.new_transactions, a.new_amount
FROM user_activity_by_snapshot AS a
WHERE a.user_id = @user
ORDER BY a.snapshot_date;

-- as_it_was: How were the transaction types as they were on that day? Here the last Tuesday; or '2026-11-17'.
SET @day = (SELECT MAX(n.snapshot_date) FROM etl_snapshots AS n WHERE WEEKDAY(n.snapshot_date) = 1);
WITH that_day AS (
  SELECT d.snapshot_version, d.snapshot_date
  FROM snapshot_days AS d
  WHERE d.fact_table = 'fact_user_transaction_summary' AND d.snapshot_date <= CAST(@day AS DATE)
  ORDER BY d.snapshot_date DESC
  LIMIT 1
)
SELECT d.snapshot_date, s.transaction_type,
  COUNT(*) AS users,
  SUM(s.transaction_count) AS transactions,
  SUM(s.total_amount) AS total_amount
FROM that_day AS d
JOIN fact_user_transaction_summary AS s ON s.snapshot_version = d.snapshot_version
GROUP BY d.snapshot_date, s.transaction_type
ORDER BY s.transaction_type;

-- churn: Which users have not done anything for the last 14 snapshots?
WITH days AS (
  SELECT MAX(CASE WHEN d.days_back = 0 THEN d.snapshot_version END) AS now_version,
    MAX(CASE WHEN d.days_back = 14 THEN d.snapshot_version END) AS then_version
  FROM snapshot_days AS d
  WHERE d.fact_table = 'fact_user_transaction_summary'
)
SELECT s.user_id, u.user_country,
  SUM(s.transaction_count) AS transactions,
  MAX(s.last_transaction_date) AS last_transaction_date
FROM days AS d
JOIN fact_user_transaction_summary AS s ON s.snapshot_version = d.now_version
JOIN dim_users AS u ON u.user_id = s.user_id
LEFT JOIN fact_user_transaction_summary AS s0
  ON s0.snapshot_version = d.then_version
  AND s0.user_id = s.user_id
  AND s0.transaction_type = s.transaction_type
WHERE d.then_version IS NOT NULL
GROUP BY s.user_id, u.user_country
HAVING SUM(s.transaction_count - COALESCE(s0.transaction_count, 0)) <= 0
ORDER BY last_transaction_date, s.user_id;

-- product_changes: Which products are new, and which have vanished, against a week before?
WITH days AS (
  SELECT MAX(CASE WHEN d.days_back = 0 THEN d.snapshot_version END) AS now_version,
    MAX(CASE WHEN d.days_back = 7 THEN d.snapshot_version END) AS then_version
  FROM snapshot_days AS d
  WHERE d.fact_table = 'fact_product_purchase_counts'
)
SELECT 'new' AS what, g.product_id, g.product_name, g.total_revenue
FROM days AS d
JOIN fact_product_purchase_counts AS g ON g.snapshot_version = d.now_version
LEFT JOIN fact_product_purchase_counts AS g0
  ON g0.snapshot_version = d.then_version
  AND g0.product_id = g.product_id
WHERE g0.product_id IS NULL AND d.then_version IS NOT NULL
UNION ALL
SELECT 'vanished', g.product_id, g.product_name, g.total_revenue
FROM days AS d
JOIN fact_product_purchase_counts AS g ON g.snapshot_version = d.then_version
LEFT JOIN fact_product_purchase_counts AS g0
  ON g0.snapshot_version = d.now_version
  AND g0.product_id = g.product_id
WHERE g0.product_id IS NULL
ORDER BY what, product_id;

-- missing_days: On which days was no snapshot taken?
WITH days AS (
  SELECT d.fact_table, d.snapshot_date,
    LAG(d.snapshot_date) OVER (PARTITION BY d.fact_table ORDER BY d.snapshot_date) AS day_before
  FROM snapshot_days AS d
)
SELECT d.fact_table,
  d.day_before + INTERVAL 1 DAY AS first_missing_day,
  DATEDIFF(d.snapshot_date, d.day_before) - 1 AS missing_days
FROM days AS d
WHERE DATEDIFF(d.snapshot_date, d.day_before) > 1
ORDER BY d.fact_table, first_missing_day;

-- went_down: Whose count is smaller than the day before? In ksqlDB it only grows, unless its table was recreated.
SELECT a.user_id, a.snapshot_date, a.transactions, a.new_transactions
FROM user_activity_by_snapshot AS a
WHERE a.days_back = 0 AND a.new_transactions < 0
ORDER BY a.user_id;

-- rejected: Which rows of the current snapshots did not fit, and why?
SELECT r.fact_table, r.column_name, r.reason, COUNT(*) AS rejected_rows, MIN(r.row_key) AS example
FROM etl_current AS c
JOIN etl_rejects AS r
  ON r.snapshot_version = c.snapshot_version
  AND r.fact_table = c.fact_table
GROUP BY r.fact_table, r.column_name, r.reason
ORDER BY rejected_rows DESC, r.fact_table, r.column_name;

-- not_described: Which users have no name, and which payment methods has nobody described?
SELECT 'user' AS what, u.user_id AS id
FROM dim_users AS u
WHERE u.user_name IS NULL
UNION ALL
SELECT 'payment method', m.payment_method_id
FROM dim_payment_methods AS m
WHERE NOT m.is_known
ORDER BY what, id;

-- ledger_agrees: Does the ledger agree with the facts? Every difference must be 0; it is NULL for a fact of your own.
SELECT l.snapshot_version, l.fact_table, l.row_count AS ledger_rows,
  l.row_count - CASE l.fact_table
    WHEN 'fact_user_transaction_summary' THEN
      (SELECT COUNT(*) FROM fact_user_transaction_summary AS s WHERE s.snapshot_version = l.snapshot_version)
    WHEN 'fact_user_transaction_summary_eur' THEN
      (SELECT COUNT(*) FROM fact_user_transaction_summary_eur AS e WHERE e.snapshot_version = l.snapshot_version)
    WHEN 'fact_payment_method_totals' THEN
      (SELECT COUNT(*) FROM fact_payment_method_totals AS p WHERE p.snapshot_version = l.snapshot_version)
    WHEN 'fact_product_purchase_counts' THEN
      (SELECT COUNT(*) FROM fact_product_purchase_counts AS g WHERE g.snapshot_version = l.snapshot_version)
  END AS difference,
  l.rejected_count
FROM etl_snapshot_facts AS l
JOIN etl_snapshots AS n ON n.snapshot_version = l.snapshot_version
WHERE n.status = 'complete'
ORDER BY l.snapshot_version, l.fact_table;

-- facts_agree: Do users and payment methods count the same transactions in the current snapshot? Must be 0.
SELECT b.by_payment_method, a.by_user, b.by_payment_method - a.by_user AS difference
FROM (SELECT SUM(s.transaction_count) AS by_user FROM current_user_transaction_summary AS s) AS a
CROSS JOIN (SELECT SUM(p.transaction_count) AS by_payment_method FROM current_payment_method_totals AS p) AS b;
