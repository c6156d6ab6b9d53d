-- refused: line 3: the local runner does not run the asynchronous function fetch_body in a subquery
CREATE VIEW a AS
SELECT raw FROM (SELECT fetch_body(body) AS raw FROM reception) AS b;
