-- refused: line 3: the local runner does not run DISTINCT
CREATE VIEW a AS
SELECT DISTINCT body FROM reception;
