-- What a fact's line of the ledger was loaded from, told by identity and not by time. Can be run twice; drops nothing.
--   mysql -u root -p < sql/06_lake_identity.sql
--
-- Lines from before this file have NULL in the new columns. MySQL has no ADD COLUMN IF NOT EXISTS, so each statement is
-- made only where its columns are not there yet.

USE data_warehouse;

SET @add_identity = IF(
  (SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'etl_snapshot_facts' AND column_name = 'lake_id') > 0,
  'DO 0',
  'ALTER TABLE etl_snapshot_facts
    ADD COLUMN lake_id CHAR(36) NULL COMMENT ''of the Delta table; NULL: read from ksqlDB, or not recorded'',
    ADD COLUMN lake_files CHAR(32) NULL COMMENT ''hash of the names of the version''''s data files'',
    ADD COLUMN moved_view BOOLEAN NULL COMMENT ''whether this load moved the current_* view to its snapshot'''
);
PREPARE add_identity FROM @add_identity;
EXECUTE add_identity;
DEALLOCATE PREPARE add_identity;

SET @add_order = IF(
  (SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'etl_rollbacks' AND column_name = 'after_version') > 0,
  'DO 0',
  'ALTER TABLE etl_rollbacks
    ADD COLUMN after_version INT NULL COMMENT ''the newest snapshot that there was; later ones were loaded after it'''
);
PREPARE add_order FROM @add_order;
EXECUTE add_order;
DEALLOCATE PREPARE add_order;
