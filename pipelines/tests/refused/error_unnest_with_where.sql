-- refused: line 3: the local runner does not run unnest next to other work
CREATE VIEW a AS
SELECT unnest(recipients) AS recipient FROM reception WHERE body <> '';
