-- refused: line 2: column 'changed_at_us' of mailbox.changes is missing
CREATE TABLE changes (
  kind TEXT NOT NULL, account_id TEXT NOT NULL, email_id TEXT NOT NULL, message_id TEXT,
  received_at_us BIGINT, recipient TEXT, body TEXT, size_bytes BIGINT, mailbox TEXT, summary TEXT, patch TEXT
) WITH (connector = 'kafka', type = 'sink', topic = 'mailbox.changes', 'sink.key_field' = 'account_id');
INSERT INTO dead_letter
SELECT 's' AS stage, 'e' AS error, received_at_us AS failed_at_us, message_id, NULL AS recipient, body, NULL AS topic,
       NULL AS partition, NULL AS "offset"
FROM reception;
