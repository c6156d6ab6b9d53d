-- refused: line 5: the local runner does not run JOIN
CREATE VIEW a AS
SELECT l.body
FROM reception AS l
JOIN reception AS r ON l.body = r.body;
