-- refused: line 3: the local runner does not run a subquery as a value
CREATE VIEW a AS
SELECT (SELECT body FROM reception) AS body FROM reception;
