-- refused: line 2: no table 'nowhere' with type = 'sink' before this
INSERT INTO nowhere SELECT body FROM reception;
