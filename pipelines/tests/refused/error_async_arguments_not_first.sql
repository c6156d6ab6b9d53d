-- refused: line 3: the local runner does not run the asynchronous function fetch_body over a subquery that begins otherwise
CREATE VIEW a AS
SELECT message_id, fetch_body(body) AS raw FROM (SELECT message_id, body FROM reception);
