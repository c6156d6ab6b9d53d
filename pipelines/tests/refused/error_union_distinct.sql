-- refused: line 6: the local runner does not run UNION:
CREATE VIEW a AS
SELECT message_id, received_at_us, body
FROM reception
UNION
SELECT message_id, received_at_us, body FROM reception;
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM a;
