-- refused: line 6: column 'failed_at_us' of 'dead_letter' may be null, and is never in the INSERT on line 2
INSERT INTO dead_letter
SELECT 'a' AS stage, 'b' AS error, received_at_us AS failed_at_us, CAST(NULL AS TEXT) AS message_id,
       CAST(NULL AS TEXT) AS recipient, CAST(NULL AS TEXT) AS body, CAST(NULL AS TEXT) AS topic,
       CAST(NULL AS BIGINT) AS partition, CAST(NULL AS BIGINT) AS "offset" FROM reception;
CREATE VIEW routed AS SELECT received_at_us, unnest(recipients) AS entry FROM reception; INSERT INTO dead_letter
SELECT 'a' AS stage, 'b' AS error, received_at_us AS failed_at_us, CAST(NULL AS TEXT) AS message_id,
       entry AS recipient, CAST(NULL AS TEXT) AS body, CAST(NULL AS TEXT) AS topic,
       CAST(NULL AS BIGINT) AS partition, CAST(NULL AS BIGINT) AS "offset" FROM routed;
