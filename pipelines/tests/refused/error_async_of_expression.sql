-- refused: line 3: the local runner does not run an expression as an argument of the asynchronous function fetch_body
CREATE VIEW a AS
SELECT fetch_body('x' || body) AS raw FROM reception;
