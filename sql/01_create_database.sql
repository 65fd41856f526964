-- The warehouse's database. Can be run twice; drops nothing.
--   mysql -u root -p < sql/01_create_database.sql
-- For another name, use `python sync_to_mysql.py --init-schema --database NAME`, or change it here and in the USE
-- lines of the other files.
-- Names and keys are compared byte by byte (utf8mb4_bin): 'Card' and 'card' are two payment methods.

CREATE DATABASE IF NOT EXISTS data_warehouse
  CHARACTER SET utf8mb4
  COLLATE utf8mb4_bin;

USE data_warehouse;

CREATE TABLE IF NOT EXISTS etl_schema_files (
  file_name VARCHAR(255) NOT NULL,
  sha256 CHAR(64) NOT NULL COMMENT 'of the text as it was applied, with line ends as LF',
  applied_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'UTC',
  PRIMARY KEY (file_name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'Grain: a file of sql/ that sync_to_mysql.py --init-schema applied. It is not changed afterwards.';
