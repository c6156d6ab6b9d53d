-- refused: line 2: column 'failed_at_us' of 'dead_letter' is Int64, not Utf8
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, body AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
