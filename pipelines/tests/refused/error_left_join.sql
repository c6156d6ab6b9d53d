-- refused: line 5: the local runner does not run LEFT OUTER JOIN
CREATE VIEW a AS
SELECT l.body
FROM reception AS l
LEFT JOIN reception AS r ON l.body = r.body;
