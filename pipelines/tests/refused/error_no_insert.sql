-- refused: line 1: nothing is inserted into a sink
CREATE VIEW a AS SELECT body FROM reception;
