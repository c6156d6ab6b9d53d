-- refused: line 2: column 6 inserted into 'dead_letter' is named 'bodies', not 'body'
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, reverse_path AS message_id, NULL AS recipient,
       body AS bodies, NULL AS topic, NULL AS partition, NULL AS "offset"
FROM reception;
