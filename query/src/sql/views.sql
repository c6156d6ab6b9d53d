-- What people ask for, over the tables. Each statement is one view.

-- The newest version of each email. A tombstone only says that the other side of read and unread has a newer one.
CREATE VIEW current_state AS
SELECT account_id, email_id, received_at, thread_id, size_bytes, mailboxes, keywords, is_read, seq, created_seq
FROM (
    SELECT *, row_number() OVER (PARTITION BY account_id, email_id ORDER BY seq DESC) AS age
    FROM email_state
    WHERE NOT is_tombstone
)
WHERE age = 1 AND NOT is_destroyed;

-- Current mail: what was delivered, with what holds now. `mailbox` is where it was delivered to, `mailboxes` where it
-- is.
CREATE VIEW mailbox AS
SELECT e.account_id, e.email_id, e.message_id, e.thread_id, e.received_at, e.sent_at, e.recipient, e.size_bytes,
       e.body, e.subject, e.from_address, e.from_name, e.to_addresses, e.has_attachment, e.preview, e.summary,
       e.mailbox, s.mailboxes, s.keywords, s.is_read, s.seq, s.created_seq
FROM current_state s
JOIN emails e ON e.account_id = s.account_id AND e.email_id = s.email_id;

-- Read and unread mail read only their own side of `email_state`.
CREATE VIEW read_emails AS
SELECT account_id, email_id, received_at, thread_id, size_bytes, mailboxes, keywords, seq, created_seq
FROM (
    SELECT *, row_number() OVER (PARTITION BY account_id, email_id ORDER BY seq DESC) AS age
    FROM email_state
    WHERE is_read
)
WHERE age = 1 AND NOT is_tombstone AND NOT is_destroyed;

CREATE VIEW unread_emails AS
SELECT account_id, email_id, received_at, thread_id, size_bytes, mailboxes, keywords, seq, created_seq
FROM (
    SELECT *, row_number() OVER (PARTITION BY account_id, email_id ORDER BY seq DESC) AS age
    FROM email_state
    WHERE NOT is_read
)
WHERE age = 1 AND NOT is_tombstone AND NOT is_destroyed;

-- What became of each day's mail, per recipient.
CREATE VIEW delivery_daily AS
SELECT date_trunc('day', at) AS day,
       count(*) AS events,
       count(*) FILTER (WHERE event = 'delivery') AS deliveries,
       count(*) FILTER (WHERE event = 'duplicate') AS duplicates,
       count(*) FILTER (WHERE event = 'quarantine') AS quarantines,
       count(*) FILTER (WHERE event = 'delivery' AND detail = 'junk') AS junk,
       count(*) FILTER (WHERE event = 'delivery') / CAST(count(*) AS DOUBLE) AS delivery_rate,
       sum(size_bytes) AS size_bytes
FROM delivery
GROUP BY date_trunc('day', at);
