-- refused: line 5: the local runner does not run IN (subquery)
CREATE VIEW a AS
SELECT message_id, received_at_us, body
FROM reception
WHERE body IN (SELECT body FROM reception);
