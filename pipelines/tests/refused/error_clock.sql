-- refused: line 3: the local runner does not run the function now: a replay must give the same answer
CREATE VIEW a AS
SELECT now() AS at, body FROM reception;
