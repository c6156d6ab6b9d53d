-- refused: line 4: column 'changed_at_us' is TEXT; the Avro schema of mailbox.changes has BIGINT
CREATE TABLE changes (
  kind TEXT NOT NULL, account_id TEXT NOT NULL, email_id TEXT NOT NULL,
  changed_at_us TEXT NOT NULL
) WITH (connector = 'kafka', type = 'sink', topic = 'mailbox.changes', 'sink.key_field' = 'account_id');
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
