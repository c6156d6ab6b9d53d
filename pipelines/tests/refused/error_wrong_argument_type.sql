-- refused: line 2: Error during planning
CREATE VIEW a AS
SELECT summarise(received_at_us) AS summary FROM reception;
