-- refused: line 4: no table or view is named 'elsewhere'
CREATE VIEW a AS
SELECT body
FROM elsewhere;
