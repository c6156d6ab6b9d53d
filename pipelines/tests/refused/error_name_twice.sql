-- refused: line 3: 'a' was defined on line 2 already
CREATE VIEW a AS SELECT body FROM reception;
CREATE VIEW a AS SELECT body FROM reception;
