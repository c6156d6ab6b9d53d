-- refused: line 3: the local runner does not run the asynchronous function fetch_body in WHERE or inside an expression
CREATE VIEW a AS
SELECT fetch_body(body) IS NULL AS is_lost FROM reception;
