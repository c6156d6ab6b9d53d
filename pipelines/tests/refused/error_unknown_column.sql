-- refused: line 2: Schema error: No field named colour
CREATE VIEW a AS
SELECT colour FROM reception;
