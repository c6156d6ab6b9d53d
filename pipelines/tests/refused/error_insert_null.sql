-- refused: line 2: column 'error' of 'dead_letter' takes no NULL
INSERT INTO dead_letter
SELECT 's' AS stage, NULL AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
