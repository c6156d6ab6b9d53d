-- refused: line 4: the local runner does not run reading the sink 'dead_letter'
CREATE VIEW a AS
SELECT stage
FROM dead_letter;
