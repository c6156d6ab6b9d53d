-- refused: line 4: view 'b' is used before it is defined, on line 6
CREATE VIEW a AS
SELECT body
FROM b;

CREATE VIEW b AS SELECT body FROM reception;
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM b;
