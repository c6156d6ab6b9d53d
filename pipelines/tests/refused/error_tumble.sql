-- refused: line 4: the local runner does not run GROUP BY
CREATE VIEW a AS
SELECT body
FROM reception GROUP BY tumble(INTERVAL '1 minute'), body;
