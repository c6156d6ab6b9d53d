-- refused: mend the statement that begins on line 2
CREATE VIEW a AS SELEKT body FROM reception;
