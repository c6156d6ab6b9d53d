-- refused: line 5: the local runner does not run the asynchronous function fetch_body in WHERE
CREATE VIEW a AS
SELECT message_id, received_at_us, body
FROM reception
WHERE fetch_body(body) IS NOT NULL;
