-- refused: line 5: the local runner does not run GROUP BY
CREATE VIEW a AS
SELECT body, max(received_at_us) AS received_at_us
FROM reception
GROUP BY body;
