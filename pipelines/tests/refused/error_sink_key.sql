-- refused: line 2: records of mailbox.changes need 'sink.key_field' = 'account_id'
CREATE TABLE changes (
  kind TEXT NOT NULL
) WITH (connector = 'kafka', type = 'sink', topic = 'mailbox.changes', 'sink.key_field' = 'email_id');
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
