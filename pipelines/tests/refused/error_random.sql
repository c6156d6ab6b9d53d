-- refused: line 3: the local runner does not run the function random
CREATE VIEW a AS
SELECT random() AS chance, body FROM reception;
