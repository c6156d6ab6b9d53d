-- refused: line 3: the local runner does not run WITH
CREATE VIEW a AS
WITH b AS (SELECT body FROM reception)
SELECT body FROM b;
