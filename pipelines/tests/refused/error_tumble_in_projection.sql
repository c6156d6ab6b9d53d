-- refused: line 3: the local runner does not run the window tumble
CREATE VIEW a AS
SELECT tumble(INTERVAL '1 minute') AS minute, body
FROM reception;
