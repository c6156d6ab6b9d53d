-- refused: line 3: the local runner does not run the asynchronous function fetch_body over anything but a subquery without a name
CREATE VIEW a AS
SELECT message_id, fetch_body(body) AS raw FROM reception;
