-- refused: line 3: the local runner does not run the window function row_number
CREATE VIEW a AS
SELECT message_id, row_number() OVER (PARTITION BY body ORDER BY received_at_us) AS n
FROM reception;
