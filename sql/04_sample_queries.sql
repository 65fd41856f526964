-- Questions that the star schema answers. Each runs on its own; all of them:
--   mysql -u root -p < sql/04_sample_queries.sql
-- current_* views show the current snapshot; the fact tables hold all of them.

USE data_warehouse;

-- Who are the ten users with the most transactions, and what are they worth?
SELECT u.user_id, u.user_name, u.user_country,
  SUM(s.transaction_count) AS transactions,
  SUM(s.total_amount) AS total_amount
FROM current_user_transaction_summary AS s
JOIN dim_users AS u ON u.user_id = s.user_id
GROUP BY u.user_id, u.user_name, u.user_country
ORDER BY transactions DESC, u.user_id
LIMIT 10;

-- How do the transaction types compare?
SELECT s.transaction_type,
  COUNT(*) AS users,
  SUM(s.transaction_count) AS transactions,
  SUM(s.total_amount) AS total_amount,
  ROUND(SUM(s.total_amount) / SUM(s.transaction_count), 2) AS avg_amount,
  MIN(s.min_amount) AS smallest,
  MAX(s.max_amount) AS largest
FROM current_user_transaction_summary AS s
GROUP BY s.transaction_type
ORDER BY transactions DESC;

-- Which payment methods carry which share of the volume, and which of them has nobody described yet?
SELECT m.payment_method_id, m.display_name, m.is_known, p.transaction_count, p.total_amount,
  ROUND(100 * p.transaction_count / SUM(p.transaction_count) OVER (), 1) AS percent_of_transactions
FROM current_payment_method_totals AS p
JOIN dim_payment_methods AS m ON m.payment_method_id = p.payment_method_id
ORDER BY p.transaction_count DESC;

-- Which products bring the most revenue, overall and within their category?
SELECT p.product_id, p.product_name, p.product_category, p.purchase_count, p.total_revenue, p.unique_buyers,
  RANK() OVER (PARTITION BY p.product_category ORDER BY p.total_revenue DESC) AS rank_in_category
FROM current_product_purchase_counts AS p
ORDER BY p.total_revenue DESC
LIMIT 20;

-- What do users spend in EUR, against the sum over their original currencies?
SELECT o.user_id, o.transaction_type, o.transaction_count,
  o.total_amount AS original_amount,
  e.total_amount_eur,
  o.transaction_count - COALESCE(e.transaction_count, 0) AS transactions_without_rate
FROM current_user_transaction_summary AS o
LEFT JOIN current_user_transaction_summary_eur AS e
  ON e.user_id = o.user_id AND e.transaction_type = o.transaction_type
ORDER BY transactions_without_rate DESC, o.user_id, o.transaction_type
LIMIT 20;

-- RFM segments: how recently, how often and for how much do users buy (quartiles, 4 is best)?
WITH per_user AS (
  SELECT s.user_id,
    MAX(s.last_transaction_date) AS last_at,
    SUM(s.transaction_count) AS frequency,
    SUM(s.total_amount) AS monetary
  FROM current_user_transaction_summary AS s
  GROUP BY s.user_id
),
scored AS (
  SELECT user_id,
    NTILE(4) OVER (ORDER BY last_at) AS r,
    NTILE(4) OVER (ORDER BY frequency) AS f,
    NTILE(4) OVER (ORDER BY monetary) AS m
  FROM per_user
)
SELECT
  CASE
    WHEN r = 4 AND f >= 3 AND m >= 3 THEN 'champions'
    WHEN f >= 3 THEN 'loyal'
    WHEN r >= 3 THEN 'recent'
    WHEN m >= 3 THEN 'big, at risk'
    ELSE 'fading'
  END AS segment,
  COUNT(*) AS users
FROM scored
GROUP BY segment
ORDER BY users DESC;

-- Cohorts by country: how many users, how active, how valuable?
SELECT COALESCE(u.user_country, '(not told)') AS country,
  COUNT(DISTINCT u.user_id) AS users,
  SUM(e.transaction_count) AS transactions,
  SUM(e.total_amount_eur) AS total_eur,
  ROUND(SUM(e.total_amount_eur) / COUNT(DISTINCT u.user_id), 2) AS eur_per_user
FROM current_user_transaction_summary_eur AS e
JOIN dim_users AS u ON u.user_id = e.user_id
GROUP BY country
ORDER BY total_eur DESC;

-- How did the totals grow from each snapshot to the next?
SELECT t.snapshot_version, t.snapshot_date, t.transactions,
  t.transactions - LAG(t.transactions) OVER (ORDER BY t.snapshot_date, t.snapshot_version) AS new_transactions,
  t.total_amount,
  t.total_amount - LAG(t.total_amount) OVER (ORDER BY t.snapshot_date, t.snapshot_version) AS new_amount
FROM (
  SELECT f.snapshot_version, f.snapshot_date,
    SUM(f.transaction_count) AS transactions,
    SUM(f.total_amount) AS total_amount
  FROM fact_payment_method_totals AS f
  GROUP BY f.snapshot_version, f.snapshot_date
) AS t
ORDER BY t.snapshot_date, t.snapshot_version;

-- Integrity: does the ledger agree with the facts? Every difference must be 0.
SELECT l.snapshot_version, l.fact_table, l.row_count AS ledger_rows,
  l.row_count - CASE l.fact_table
    WHEN 'fact_user_transaction_summary' THEN
      (SELECT COUNT(*) FROM fact_user_transaction_summary AS f WHERE f.snapshot_version = l.snapshot_version)
    WHEN 'fact_user_transaction_summary_eur' THEN
      (SELECT COUNT(*) FROM fact_user_transaction_summary_eur AS f WHERE f.snapshot_version = l.snapshot_version)
    WHEN 'fact_payment_method_totals' THEN
      (SELECT COUNT(*) FROM fact_payment_method_totals AS f WHERE f.snapshot_version = l.snapshot_version)
    WHEN 'fact_product_purchase_counts' THEN
      (SELECT COUNT(*) FROM fact_product_purchase_counts AS f WHERE f.snapshot_version = l.snapshot_version)
  END AS difference,
  l.rejected_count
FROM etl_snapshot_facts AS l
ORDER BY l.snapshot_version, l.fact_table;

-- Integrity: do users and payment methods count the same transactions in the current snapshot? Must be 0.
SELECT
  (SELECT SUM(transaction_count) FROM current_payment_method_totals) AS by_payment_method,
  (SELECT SUM(transaction_count) FROM current_user_transaction_summary) AS by_user,
  (SELECT SUM(transaction_count) FROM current_payment_method_totals)
    - (SELECT SUM(transaction_count) FROM current_user_transaction_summary) AS difference;
