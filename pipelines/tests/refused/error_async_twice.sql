-- refused: line 3: the local runner does not run two asynchronous functions in one SELECT
CREATE VIEW a AS
SELECT fetch_body(body) AS one, fetch_body(message_id) AS two FROM (SELECT body, message_id FROM reception);
