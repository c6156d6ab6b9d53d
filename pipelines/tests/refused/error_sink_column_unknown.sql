-- refused: line 3: column 'flavour' is not in the Avro schema of mailbox.changes
CREATE TABLE changes (
  flavour TEXT
) WITH (connector = 'kafka', type = 'sink', topic = 'mailbox.changes', 'sink.key_field' = 'account_id');
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
