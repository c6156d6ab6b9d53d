-- refused: line 2: no topic is named 'mail.nothing'
CREATE TABLE changes (kind TEXT)
WITH (connector = 'kafka', type = 'sink', topic = 'mail.nothing');
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
