-- refused: line 3: the local runner does not run WHERE beside the asynchronous function fetch_body
CREATE VIEW a AS
SELECT message_id, fetch_body(body) AS raw FROM (SELECT body, message_id FROM reception) WHERE message_id <> '';
