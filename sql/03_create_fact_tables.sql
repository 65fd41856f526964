-- The snapshot ledger, the facts, the rejects and the current_* views. Can be run twice; drops nothing.
--   mysql -u root -p < sql/03_create_fact_tables.sql
--
-- A snapshot is one load of one or more facts, in one transaction with its ledger rows. etl_current names the
-- snapshot that the current_* views show, fact by fact. Deleting a row of etl_snapshots deletes its facts.

USE data_warehouse;

CREATE TABLE IF NOT EXISTS etl_snapshots (
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL COMMENT 'UTC date at which the rows were read from ksqlDB',
  taken_at DATETIME(3) NOT NULL COMMENT 'UTC',
  loaded_at DATETIME(3) NOT NULL COMMENT 'UTC',
  source VARCHAR(16) NOT NULL COMMENT 'ksqldb or lake',
  status VARCHAR(16) NOT NULL COMMENT 'complete, or expiring: being deleted',
  PRIMARY KEY (snapshot_version)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a snapshot.';

CREATE TABLE IF NOT EXISTS etl_snapshot_facts (
  snapshot_version INT NOT NULL,
  fact_table VARCHAR(64) NOT NULL,
  feed VARCHAR(100) NOT NULL,
  lake_version INT NULL COMMENT 'NULL: read from ksqlDB directly',
  row_count BIGINT NOT NULL,
  rejected_count BIGINT NOT NULL,
  content_hash CHAR(32) NOT NULL COMMENT 'of all rows, in any order',
  PRIMARY KEY (snapshot_version, fact_table),
  KEY ix_etl_snapshot_facts_lake (fact_table, lake_version),
  CONSTRAINT fk_etl_snapshot_facts_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a fact table in a snapshot.';

CREATE TABLE IF NOT EXISTS etl_current (
  fact_table VARCHAR(64) NOT NULL,
  snapshot_version INT NOT NULL,
  PRIMARY KEY (fact_table),
  CONSTRAINT fk_etl_current_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a fact table. The snapshot that its current_* view shows.';

CREATE TABLE IF NOT EXISTS etl_rollbacks (
  rollback_id BIGINT NOT NULL AUTO_INCREMENT,
  done_at DATETIME(3) NOT NULL COMMENT 'UTC',
  fact_table VARCHAR(64) NOT NULL,
  from_version INT NULL,
  to_version INT NOT NULL,
  PRIMARY KEY (rollback_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a view that a person moved to another snapshot. Outlives the snapshots.';

CREATE TABLE IF NOT EXISTS etl_rejects (
  reject_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  fact_table VARCHAR(64) NOT NULL,
  row_key TEXT NOT NULL COMMENT 'the natural key, as JSON',
  column_name VARCHAR(64) NOT NULL,
  reason VARCHAR(500) NOT NULL,
  row_json LONGTEXT NOT NULL COMMENT 'the whole row, as JSON',
  PRIMARY KEY (reject_id),
  KEY ix_etl_rejects_snapshot (snapshot_version, fact_table),
  CONSTRAINT fk_etl_rejects_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a row of a snapshot that does not fit its fact table.';

CREATE TABLE IF NOT EXISTS fact_user_transaction_summary (
  summary_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  transaction_type VARCHAR(100) NOT NULL,
  total_amount DECIMAL(18, 2) NULL COMMENT 'sum over original currencies',
  transaction_count BIGINT NULL,
  avg_amount DECIMAL(18, 4) NULL,
  min_amount DECIMAL(12, 2) NULL,
  max_amount DECIMAL(12, 2) NULL,
  last_transaction_date DATETIME(3) NULL COMMENT 'UTC',
  PRIMARY KEY (summary_id),
  UNIQUE KEY uq_fact_user_transaction_summary (snapshot_version, user_id, transaction_type),
  KEY ix_fact_user_transaction_summary_user (user_id, snapshot_version),
  KEY ix_fact_user_transaction_summary_date (snapshot_date),
  CONSTRAINT fk_fact_user_transaction_summary_user FOREIGN KEY (user_id)
    REFERENCES dim_users (user_id) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT fk_fact_user_transaction_summary_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: user x transaction type x snapshot.';

CREATE TABLE IF NOT EXISTS fact_user_transaction_summary_eur (
  summary_eur_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  transaction_type VARCHAR(100) NOT NULL,
  total_amount_eur DECIMAL(18, 2) NULL,
  transaction_count BIGINT NULL,
  avg_amount_eur DECIMAL(18, 4) NULL,
  exchange_rate DECIMAL(18, 8) NULL COMMENT 'of the last transaction',
  PRIMARY KEY (summary_eur_id),
  UNIQUE KEY uq_fact_user_transaction_summary_eur (snapshot_version, user_id, transaction_type),
  KEY ix_fact_user_transaction_summary_eur_user (user_id, snapshot_version),
  KEY ix_fact_user_transaction_summary_eur_date (snapshot_date),
  CONSTRAINT fk_fact_user_transaction_summary_eur_user FOREIGN KEY (user_id)
    REFERENCES dim_users (user_id) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT fk_fact_user_transaction_summary_eur_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: user x transaction type x snapshot; only transactions in currencies that have a rate.';

CREATE TABLE IF NOT EXISTS fact_payment_method_totals (
  payment_total_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  payment_method_id VARCHAR(100) NOT NULL,
  total_amount DECIMAL(18, 2) NULL COMMENT 'sum over original currencies',
  transaction_count BIGINT NULL,
  avg_amount DECIMAL(18, 4) NULL,
  PRIMARY KEY (payment_total_id),
  UNIQUE KEY uq_fact_payment_method_totals (snapshot_version, payment_method_id),
  KEY ix_fact_payment_method_totals_method (payment_method_id, snapshot_version),
  KEY ix_fact_payment_method_totals_date (snapshot_date),
  CONSTRAINT fk_fact_payment_method_totals_method FOREIGN KEY (payment_method_id)
    REFERENCES dim_payment_methods (payment_method_id) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT fk_fact_payment_method_totals_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: payment method x snapshot.';

CREATE TABLE IF NOT EXISTS fact_product_purchase_counts (
  product_count_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  product_id VARCHAR(255) NOT NULL,
  product_name VARCHAR(500) NULL,
  product_category VARCHAR(255) NULL,
  purchase_count INT NULL,
  total_revenue DECIMAL(18, 2) NULL,
  avg_price DECIMAL(18, 4) NULL,
  unique_buyers BIGINT NULL,
  PRIMARY KEY (product_count_id),
  UNIQUE KEY uq_fact_product_purchase_counts (snapshot_version, product_id),
  KEY ix_fact_product_purchase_counts_product (product_id, snapshot_version),
  KEY ix_fact_product_purchase_counts_date (snapshot_date),
  CONSTRAINT fk_fact_product_purchase_counts_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: product x snapshot.';

CREATE OR REPLACE VIEW current_user_transaction_summary AS
SELECT f.*
FROM fact_user_transaction_summary AS f
JOIN etl_current AS c
  ON c.snapshot_version = f.snapshot_version
WHERE c.fact_table = 'fact_user_transaction_summary';

CREATE OR REPLACE VIEW current_user_transaction_summary_eur AS
SELECT f.*
FROM fact_user_transaction_summary_eur AS f
JOIN etl_current AS c
  ON c.snapshot_version = f.snapshot_version
WHERE c.fact_table = 'fact_user_transaction_summary_eur';

CREATE OR REPLACE VIEW current_payment_method_totals AS
SELECT f.*
FROM fact_payment_method_totals AS f
JOIN etl_current AS c
  ON c.snapshot_version = f.snapshot_version
WHERE c.fact_table = 'fact_payment_method_totals';

CREATE OR REPLACE VIEW current_product_purchase_counts AS
SELECT f.*
FROM fact_product_purchase_counts AS f
JOIN etl_current AS c
  ON c.snapshot_version = f.snapshot_version
WHERE c.fact_table = 'fact_product_purchase_counts';
