-- refused: line 6: column 'message_id' of 'dead_letter' may be null, and is never in the INSERT on line 2
INSERT INTO dead_letter
SELECT 'a' AS stage, 'b' AS error, received_at_us AS failed_at_us, message_id,
       CAST(NULL AS TEXT) AS recipient, body, CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS partition,
       CAST(NULL AS BIGINT) AS "offset" FROM reception;
INSERT INTO dead_letter
SELECT 'a' AS stage, 'b' AS error, received_at_us AS failed_at_us, reverse_path AS message_id,
       CAST(NULL AS TEXT) AS recipient, body, CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS partition,
       CAST(NULL AS BIGINT) AS "offset" FROM reception;
