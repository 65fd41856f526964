-- The name of a payment method for reports: what a person wrote as its display_name, else its id. Can be run twice;
-- drops nothing.
--   mysql -u root -p < sql/07_payment_method_name.sql
--
-- The server works it out when it is read, so it follows display_name and is never written.

USE data_warehouse;

SET @add_name = IF(
  (SELECT COUNT(*) FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'dim_payment_methods'
      AND column_name = 'payment_method_name') > 0,
  'DO 0',
  'ALTER TABLE dim_payment_methods
    ADD COLUMN payment_method_name VARCHAR(255)
      GENERATED ALWAYS AS (COALESCE(display_name, payment_method_id)) VIRTUAL
      COMMENT ''display_name, or the id where nobody has given one'' AFTER display_name'
);
PREPARE add_name FROM @add_name;
EXECUTE add_name;
DEALLOCATE PREPARE add_name;
