-- refused: line 2: the local runner does not run INSERT with a list of columns
INSERT INTO dead_letter (stage) SELECT body FROM reception;
