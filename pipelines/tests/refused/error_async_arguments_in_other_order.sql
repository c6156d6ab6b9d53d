-- refused: line 3: the local runner does not run the asynchronous function first_seen over a subquery that begins otherwise
CREATE VIEW a AS
SELECT message_id, first_seen(message_id, body, body, received_at_us) AS seen
FROM (SELECT message_id, body, received_at_us FROM reception);
