-- refused: line 3: the local runner does not run the aggregate max
CREATE VIEW a AS
SELECT max(received_at_us) AS received_at_us
FROM reception;
