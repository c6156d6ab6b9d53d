-- Reception: every message that was answered with 250 is screened and goes to the mailboxes of its recipients.
--
-- In: mail.reception. Out: mail.screened (one per message), mailbox.changes (one per recipient who gets it),
-- mail.delivery (one per recipient: delivery, duplicate or quarantine), mail.dead-letter (a message, or a message for
-- one recipient, that a stage could not process). Each recipient ends in exactly one mail.delivery or is covered by
-- exactly one mail.dead-letter.
--
-- The text is Arroyo's dialect and runs unchanged in the local runner; the deployer adds to each table how its topic is
-- reached. Binary columns stay inside; times are microseconds since 1970 UTC.
--
-- Arroyo asks an asynchronous function again, after a restart, with the first columns of the row that waited. So such a
-- function stands over a subquery without a name that begins with its arguments in order, and filters nothing itself.
-- A sink writes all its rows by one schema: its INSERTs agree in which columns may be null (coalesce says "never").

CREATE TABLE reception (
  message_id TEXT NOT NULL,
  received_at_us BIGINT NOT NULL,
  origin TEXT NOT NULL,
  remote_ip TEXT NOT NULL,
  helo TEXT NOT NULL,
  server_name TEXT NOT NULL,
  reverse_path TEXT,
  forward_path TEXT[] NOT NULL,
  recipients TEXT[] NOT NULL,
  body TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  body_digest TEXT NOT NULL
) WITH (connector = 'kafka', type = 'source', topic = 'mail.reception');

CREATE TABLE screened (
  message_id TEXT NOT NULL,
  received_at_us BIGINT NOT NULL,
  origin TEXT NOT NULL,
  remote_ip TEXT NOT NULL,
  helo TEXT NOT NULL,
  reverse_path TEXT,
  forward_path TEXT[] NOT NULL,
  body TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  from_domain TEXT,
  subject TEXT,
  spf TEXT,
  dkim TEXT,
  dmarc TEXT,
  arc TEXT,
  authentication TEXT,
  virus TEXT,
  virus_name TEXT,
  spam TEXT,
  spam_score DOUBLE,
  disposition TEXT NOT NULL,
  reason TEXT
) WITH (connector = 'kafka', type = 'sink', topic = 'mail.screened', 'sink.key_field' = 'message_id');

CREATE TABLE mailbox_changes (
  kind TEXT NOT NULL,
  account_id TEXT NOT NULL,
  email_id TEXT NOT NULL,
  changed_at_us BIGINT NOT NULL,
  message_id TEXT,
  received_at_us BIGINT,
  recipient TEXT,
  body TEXT,
  size_bytes BIGINT,
  mailbox TEXT,
  summary TEXT,
  patch TEXT
) WITH (connector = 'kafka', type = 'sink', topic = 'mailbox.changes', 'sink.key_field' = 'account_id');

CREATE TABLE delivery (
  message_id TEXT NOT NULL,
  at_us BIGINT NOT NULL,
  event TEXT NOT NULL,
  account_id TEXT,
  recipient TEXT NOT NULL,
  email_id TEXT,
  reverse_path TEXT,
  remote_ip TEXT,
  size_bytes BIGINT NOT NULL,
  detail TEXT
) WITH (connector = 'kafka', type = 'sink', topic = 'mail.delivery', 'sink.key_field' = 'message_id');

CREATE TABLE dead_letter (
  stage TEXT NOT NULL,
  error TEXT NOT NULL,
  failed_at_us BIGINT NOT NULL,
  message_id TEXT,
  recipient TEXT,
  body TEXT,
  topic TEXT,
  "partition" BIGINT,
  "offset" BIGINT
) WITH (connector = 'kafka', type = 'sink', topic = 'mail.dead-letter', 'sink.key_field' = 'stage');

-- The body, by its reference.
CREATE VIEW fetched AS
SELECT message_id, received_at_us, origin, remote_ip, helo, server_name, reverse_path, forward_path, recipients, body,
       size_bytes, body_digest, fetch_body(body) AS raw
FROM (
  SELECT body, message_id, received_at_us, origin, remote_ip, helo, server_name, reverse_path, forward_path, recipients,
         size_bytes, body_digest
  FROM reception
);

INSERT INTO dead_letter
SELECT 'fetched' AS stage, 'there is no readable body at ' || body AS error, received_at_us AS failed_at_us, message_id,
       CAST(NULL AS TEXT) AS recipient, body,
       CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS "partition", CAST(NULL AS BIGINT) AS "offset"
FROM fetched
WHERE raw IS NULL;

-- Structure, addresses, subject, preview, attachments.
CREATE VIEW summarised AS
SELECT message_id, received_at_us, origin, remote_ip, helo, server_name, reverse_path, forward_path, recipients, body,
       size_bytes, body_digest, raw, summarise(raw) AS summary
FROM fetched
WHERE raw IS NOT NULL;

INSERT INTO dead_letter
SELECT 'summarised' AS stage, coalesce(summary->>'error', '') AS error, received_at_us AS failed_at_us, message_id,
       CAST(NULL AS TEXT) AS recipient, body,
       CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS "partition", CAST(NULL AS BIGINT) AS "offset"
FROM summarised
WHERE (summary->>'error') IS NOT NULL;

-- SPF, DKIM, DMARC, ARC.
CREATE VIEW authenticated AS
SELECT message_id, received_at_us, origin, remote_ip, helo, reverse_path, forward_path, recipients, body, size_bytes,
       body_digest, raw, summary, authenticate(raw, remote_ip, helo, reverse_path, server_name) AS authentication
FROM (
  SELECT raw, remote_ip, helo, reverse_path, server_name, message_id, received_at_us, origin, forward_path, recipients,
         body, size_bytes, body_digest, summary
  FROM summarised
  WHERE (summary->>'error') IS NULL
);

INSERT INTO dead_letter
SELECT 'authenticated' AS stage, coalesce(authentication->>'error', '') AS error, received_at_us AS failed_at_us, message_id,
       CAST(NULL AS TEXT) AS recipient, body,
       CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS "partition", CAST(NULL AS BIGINT) AS "offset"
FROM authenticated
WHERE (authentication->>'error') IS NOT NULL;

-- Virus and spam. The raw message ends here.
CREATE VIEW scanned AS
SELECT message_id, received_at_us, origin, remote_ip, helo, reverse_path, forward_path, recipients, body, size_bytes,
       body_digest, summary, authentication, scan_virus(raw) AS virus, score_spam(raw, authentication) AS spam
FROM authenticated
WHERE (authentication->>'error') IS NULL;

INSERT INTO dead_letter
SELECT 'scanned' AS stage,
       coalesce(virus->>'error', spam->>'error', '') AS error,
       received_at_us AS failed_at_us, message_id,
       CAST(NULL AS TEXT) AS recipient, body,
       CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS "partition", CAST(NULL AS BIGINT) AS "offset"
FROM scanned
WHERE (virus->>'error') IS NOT NULL OR (spam->>'error') IS NOT NULL;

-- What decides, as columns.
CREATE VIEW judged AS
SELECT message_id, received_at_us, origin, remote_ip, helo, reverse_path, forward_path, recipients, body, size_bytes,
       body_digest, summary, authentication, virus, spam,
       virus->>'name' AS virus_name,
       coalesce(virus->>'is_partial', 'false') = 'true' AS is_partly_scanned,
       CAST(spam->>'score' AS DOUBLE) AS spam_score,
       authentication->>'dmarc' AS dmarc,
       authentication->>'dmarc_policy' AS dmarc_policy
FROM scanned
WHERE (virus->>'error') IS NULL AND (spam->>'error') IS NULL;

-- The disposition: inbox, junk or quarantine. What could not be scanned whole might hide anything. Imported mail has
-- been accepted once: only a virus keeps it out. The claim is what first-seen compares: the content; an import looks
-- itself for what is there, and may bring back what was destroyed.
CREATE VIEW decided AS
SELECT message_id, received_at_us, origin, remote_ip, helo, reverse_path, forward_path, recipients, body, size_bytes,
       summary, authentication, virus, spam, virus_name, spam_score, dmarc,
       CASE
         WHEN virus_name IS NOT NULL THEN 'quarantine'
         WHEN is_partly_scanned THEN 'quarantine'
         WHEN origin = 'import' THEN 'inbox'
         WHEN dmarc = 'fail' AND dmarc_policy IN ('reject', 'quarantine') THEN 'junk'
         WHEN spam_score >= 0.9 THEN 'junk'
         ELSE 'inbox'
       END AS disposition,
       CASE
         WHEN virus_name IS NOT NULL THEN 'virus: ' || virus_name
         WHEN is_partly_scanned THEN 'virus: too complex to be scanned whole'
         WHEN origin = 'import' THEN NULL
         WHEN dmarc = 'fail' AND dmarc_policy IN ('reject', 'quarantine') THEN 'dmarc: fail, policy ' || dmarc_policy
         WHEN spam_score >= 0.9 THEN 'spam: score ' || (spam->>'score')
         ELSE NULL
       END AS reason,
       CASE WHEN origin = 'import' THEN message_id ELSE body_digest END AS claim
FROM judged;

INSERT INTO screened
SELECT message_id, received_at_us, origin, remote_ip, helo, reverse_path, forward_path, body, size_bytes,
       authentication->>'from_domain' AS from_domain,
       summary->>'subject' AS subject,
       authentication->>'spf' AS spf,
       authentication->>'dkim' AS dkim,
       dmarc,
       authentication->>'arc' AS arc,
       authentication, virus, virus_name, spam, spam_score, disposition, reason
FROM decided;

-- One row per recipient.
CREATE VIEW routed AS
SELECT message_id, received_at_us, remote_ip, reverse_path, body, size_bytes, claim, summary, disposition, reason,
       unnest(recipients) AS entry
FROM decided;

-- An entry is account id, one space, address.
CREATE VIEW addressed AS
SELECT message_id, received_at_us, remote_ip, reverse_path, body, size_bytes, claim, summary, disposition, reason,
       entry, split_part(entry, ' ', 1) AS account_id, regexp_replace(entry, '^[^ ]* ', '') AS recipient
FROM routed;

INSERT INTO delivery
SELECT message_id, received_at_us AS at_us, 'quarantine' AS event, account_id, recipient, CAST(NULL AS TEXT) AS email_id,
       reverse_path, remote_ip, size_bytes, reason AS detail
FROM addressed
WHERE disposition = 'quarantine';

-- The same bytes again for the same account, as a client sends that missed our 250. Quarantined mail claims nothing.
CREATE VIEW deduplicated AS
SELECT message_id, received_at_us, remote_ip, reverse_path, body, size_bytes, summary, disposition, entry, account_id,
       recipient, first_seen(entry, claim, message_id, received_at_us) AS seen
FROM (
  SELECT entry, claim, message_id, received_at_us, remote_ip, reverse_path, body, size_bytes, summary, disposition,
         account_id, recipient
  FROM addressed
  WHERE disposition <> 'quarantine'
);

INSERT INTO dead_letter
SELECT 'deduplicated' AS stage, coalesce(seen->>'error', 'first_seen gave no answer') AS error,
       coalesce(received_at_us, 0) AS failed_at_us, coalesce(message_id, '') AS message_id,
       entry AS recipient, coalesce(body, '') AS body,
       CAST(NULL AS TEXT) AS topic, CAST(NULL AS BIGINT) AS "partition", CAST(NULL AS BIGINT) AS "offset"
FROM deduplicated
WHERE (seen->>'first') IS NULL;

INSERT INTO mailbox_changes
SELECT 'delivered' AS kind, account_id, message_id AS email_id, received_at_us AS changed_at_us, message_id,
       received_at_us, recipient, body, size_bytes, disposition AS mailbox, summary,
       CAST(NULL AS TEXT) AS patch
FROM deduplicated
WHERE (seen->>'first') = message_id;

INSERT INTO delivery
SELECT message_id, received_at_us AS at_us,
       CASE WHEN (seen->>'first') = message_id THEN 'delivery' ELSE 'duplicate' END AS event,
       account_id, recipient, seen->>'first' AS email_id, reverse_path, remote_ip, size_bytes,
       CASE WHEN (seen->>'first') = message_id THEN disposition ELSE NULL END AS detail
FROM deduplicated
WHERE (seen->>'first') IS NOT NULL;
