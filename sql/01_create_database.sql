-- The warehouse's database. Can be run twice; drops nothing.
--   mysql -u root -p < sql/01_create_database.sql
-- For another name, use `python sync_to_mysql.py --init-schema --database NAME`, or change it here and in the USE
-- lines of the other files.
-- Names and keys are compared byte by byte (utf8mb4_bin): 'Card' and 'card' are two payment methods.

CREATE DATABASE IF NOT EXISTS data_warehouse
  CHARACTER SET utf8mb4
  COLLATE utf8mb4_bin;
