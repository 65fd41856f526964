-- Views for the questions that are asked most. Can be run twice; drops nothing.
--   mysql -u root -p < sql/05_views.sql
--
-- History is told by days: of a day with several snapshots the last one counts, and a fact's history ends with the
-- snapshot that its current_* view shows. What a rollback took back and what is being deleted is in none of these views.
-- days_back is 0 for the current snapshot, 1 for that of the day before; days without a snapshot are not counted.
-- Growth is NULL on the first day. A view runs with the rights of the account that applied this file, so a reader needs
-- SELECT on the view alone.

USE data_warehouse;

CREATE OR REPLACE VIEW snapshot_days AS
SELECT t.fact_table, t.snapshot_date, t.snapshot_version, t.taken_at,
  LAG(t.snapshot_version) OVER (PARTITION BY t.fact_table ORDER BY t.snapshot_date) AS previous_version,
  ROW_NUMBER() OVER (PARTITION BY t.fact_table ORDER BY t.snapshot_date DESC) - 1 AS days_back
FROM (
  SELECT l.fact_table, n.snapshot_date, n.snapshot_version, n.taken_at,
    ROW_NUMBER() OVER (
      PARTITION BY l.fact_table, n.snapshot_date
      ORDER BY n.taken_at DESC, n.snapshot_version DESC
    ) AS place
  FROM etl_snapshot_facts AS l
  JOIN etl_snapshots AS n ON n.snapshot_version = l.snapshot_version
  JOIN etl_current AS c ON c.fact_table = l.fact_table
  JOIN etl_snapshots AS shown ON shown.snapshot_version = c.snapshot_version
  WHERE n.status = 'complete'
    AND (n.taken_at < shown.taken_at
      OR (n.taken_at = shown.taken_at AND n.snapshot_version <= shown.snapshot_version))
) AS t
WHERE t.place = 1;

CREATE OR REPLACE VIEW user_activity_by_snapshot AS
SELECT d.snapshot_date, d.days_back, d.snapshot_version, s.user_id,
  SUM(s.transaction_count) AS transactions,
  SUM(s.total_amount) AS total_amount,
  MAX(s.last_transaction_date) AS last_transaction_date,
  SUM(CASE WHEN d.previous_version IS NOT NULL
    THEN s.transaction_count - COALESCE(s0.transaction_count, 0) END) AS new_transactions,
  SUM(CASE WHEN d.previous_version IS NOT NULL
    THEN s.total_amount - COALESCE(s0.total_amount, 0) END) AS new_amount
FROM snapshot_days AS d
JOIN fact_user_transaction_summary AS s
  ON s.snapshot_version = d.snapshot_version
LEFT JOIN fact_user_transaction_summary AS s0
  ON s0.snapshot_version = d.previous_version
  AND s0.user_id = s.user_id
  AND s0.transaction_type = s.transaction_type
WHERE d.fact_table = 'fact_user_transaction_summary'
GROUP BY d.snapshot_date, d.days_back, d.snapshot_version, s.user_id;

CREATE OR REPLACE VIEW payment_method_growth AS
SELECT d.snapshot_date, d.days_back, d.snapshot_version, p.payment_method_id, p.transaction_count, p.total_amount,
  CASE WHEN d.previous_version IS NOT NULL
    THEN p.transaction_count - COALESCE(p0.transaction_count, 0) END AS new_transactions,
  CASE WHEN d.previous_version IS NOT NULL
    THEN p.total_amount - COALESCE(p0.total_amount, 0) END AS new_amount
FROM snapshot_days AS d
JOIN fact_payment_method_totals AS p
  ON p.snapshot_version = d.snapshot_version
LEFT JOIN fact_payment_method_totals AS p0
  ON p0.snapshot_version = d.previous_version
  AND p0.payment_method_id = p.payment_method_id
WHERE d.fact_table = 'fact_payment_method_totals';

-- The sum is a query of its own: with SUM(...) OVER () beside the two ranks MariaDB (10.11) ranks wrongly.
CREATE OR REPLACE VIEW product_ranking AS
SELECT g.product_id, g.product_name, g.product_category, g.purchase_count, g.total_revenue, g.unique_buyers,
  RANK() OVER (ORDER BY g.total_revenue DESC) AS revenue_rank,
  RANK() OVER (PARTITION BY g.product_category ORDER BY g.total_revenue DESC) AS rank_in_category,
  ROUND(100 * g.total_revenue / (SELECT SUM(w.total_revenue) FROM current_product_purchase_counts AS w), 2)
    AS percent_of_revenue
FROM current_product_purchase_counts AS g;

-- RFM: recency, frequency and monetary value (in EUR) in quartiles, 4 is best. A user without any amount in EUR counts
-- as 0; users that only the EUR table knows are not there.
CREATE OR REPLACE VIEW user_segments AS
SELECT t.user_id, t.last_transaction_date, t.transactions, t.total_eur,
  t.recency_score, t.frequency_score, t.monetary_score,
  CASE
    WHEN t.recency_score = 4 AND t.frequency_score >= 3 AND t.monetary_score >= 3 THEN 'champions'
    WHEN t.recency_score >= 2 AND t.frequency_score >= 3 THEN 'loyal'
    WHEN t.recency_score = 1 AND (t.frequency_score >= 3 OR t.monetary_score >= 3) THEN 'at risk'
    WHEN t.recency_score >= 3 THEN 'recent'
    ELSE 'fading'
  END AS segment
FROM (
  SELECT a.user_id, a.last_transaction_date, a.transactions, a.total_eur,
    NTILE(4) OVER (ORDER BY a.last_transaction_date, a.user_id) AS recency_score,
    NTILE(4) OVER (ORDER BY a.transactions, a.user_id) AS frequency_score,
    NTILE(4) OVER (ORDER BY a.total_eur, a.user_id) AS monetary_score
  FROM (
    SELECT s.user_id,
      MAX(s.last_transaction_date) AS last_transaction_date,
      SUM(s.transaction_count) AS transactions,
      COALESCE(SUM(e.total_amount_eur), 0) AS total_eur
    FROM current_user_transaction_summary AS s
    LEFT JOIN current_user_transaction_summary_eur AS e
      ON e.user_id = s.user_id
      AND e.transaction_type = s.transaction_type
    GROUP BY s.user_id
  ) AS a
) AS t;
