-- The dimensions of the star schema. Can be run twice; drops nothing.
--   mysql -u root -p < sql/02_create_dimension_tables.sql

USE data_warehouse;

CREATE TABLE IF NOT EXISTS dim_users (
  user_id VARCHAR(255) NOT NULL,
  user_name VARCHAR(255) NULL,
  user_email VARCHAR(320) NULL,
  user_country VARCHAR(100) NULL,
  user_city VARCHAR(255) NULL,
  first_seen_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'UTC',
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3) COMMENT 'UTC',
  PRIMARY KEY (user_id),
  KEY ix_dim_users_country (user_country)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a user. The newest known attributes; one that a snapshot lacks stays as it was.';

CREATE TABLE IF NOT EXISTS dim_users_history (
  user_id VARCHAR(255) NOT NULL,
  valid_from DATETIME(3) NOT NULL COMMENT 'UTC; when the snapshot was taken that first told this version',
  valid_to DATETIME(3) NOT NULL COMMENT 'UTC, exclusive; the year 9999 for the current version',
  is_current BOOLEAN NOT NULL,
  user_name VARCHAR(255) NULL,
  user_email VARCHAR(320) NULL,
  user_country VARCHAR(100) NULL,
  user_city VARCHAR(255) NULL,
  PRIMARY KEY (user_id, valid_from),
  KEY ix_dim_users_history_current (is_current, user_id),
  CONSTRAINT fk_dim_users_history_user FOREIGN KEY (user_id)
    REFERENCES dim_users (user_id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a version of a user (SCD2). Filled where the setting SCD2_DIMENSIONS names dim_users.';

CREATE TABLE IF NOT EXISTS dim_payment_methods (
  payment_method_id VARCHAR(100) NOT NULL,
  display_name VARCHAR(255) NULL,
  is_known BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'FALSE: first met in a snapshot, nobody has described it yet',
  first_seen_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'UTC',
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3) COMMENT 'UTC',
  PRIMARY KEY (payment_method_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a payment method, known or met in the data.';

INSERT IGNORE INTO dim_payment_methods (payment_method_id, display_name, is_known)
VALUES
  ('card', 'Card', TRUE),
  ('paypal', 'PayPal', TRUE),
  ('bank_transfer', 'Bank transfer', TRUE),
  ('apple_pay', 'Apple Pay', TRUE),
  ('google_pay', 'Google Pay', TRUE),
  ('cash', 'Cash', TRUE),
  ('unknown', 'Not told', TRUE);
