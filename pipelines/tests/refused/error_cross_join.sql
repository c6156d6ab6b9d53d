-- refused: line 3: the local runner does not run a cross join
CREATE VIEW a AS
SELECT l.body FROM reception AS l, reception AS r;
