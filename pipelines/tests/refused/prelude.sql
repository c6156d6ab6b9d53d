CREATE TABLE reception (
  message_id TEXT NOT NULL,
  received_at_us BIGINT NOT NULL,
  reverse_path TEXT,
  recipients TEXT[] NOT NULL,
  body TEXT NOT NULL,
  size_bytes BIGINT NOT NULL
) WITH (connector = 'kafka', type = 'source', topic = 'mail.reception');
CREATE TABLE dead_letter (
  stage TEXT NOT NULL,
  error TEXT NOT NULL,
  failed_at_us BIGINT NOT NULL,
  message_id TEXT,
  recipient TEXT,
  body TEXT,
  topic TEXT,
  partition BIGINT,
  "offset" BIGINT
) WITH (connector = 'kafka', type = 'sink', topic = 'mail.dead-letter', 'sink.key_field' = 'stage');
