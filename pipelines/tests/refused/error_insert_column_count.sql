-- refused: line 2: 8 columns are inserted into 'dead_letter', which has 9
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition
FROM reception;
