//! Reconciles the tables: every message that was received ended exactly once for every recipient.

use std::fmt;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use super::engine::{SqlEngine, SqlError, SqlSession};
use crate::tables::{Positions, Table};

/// Offending ids that a finding names.
const NAMED: usize = 20;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What is wrong, for the operator.
    pub what: &'static str,
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}

/// What an audit found. Counts are of recipients where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AuditReport {
    /// Messages received.
    pub receptions: u64,
    pub recipients: u64,
    pub delivered: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    pub dead_lettered: u64,
    /// Received, and screening has not come to them yet.
    pub in_flight: u64,
    pub findings: Vec<Finding>,
}

impl AuditReport {
    /// Whether nothing is missing and nothing is doubled.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} messages for {} recipients", self.receptions, self.recipients)?;
        let counts = [
            (self.delivered, "delivered"),
            (self.duplicates, "duplicates of mail they have"),
            (self.quarantined, "quarantined"),
            (self.dead_lettered, "dead-lettered"),
            (self.in_flight, "in flight"),
        ];
        for (count, what) in counts {
            writeln!(f, "  {count} {what}")?;
        }
        if self.is_clean() {
            return writeln!(f, "nothing is missing and nothing is doubled");
        }
        for finding in &self.findings {
            writeln!(f, "{} {}:", finding.count, finding.what)?;
            for id in &finding.first {
                writeln!(f, "  {id}")?;
            }
        }
        Ok(())
    }
}

/// Reconciles the tables with what has not landed.
///
/// `screened_to` are the positions of the screening pipeline on `mail.reception`, taken before the call: all messages
/// before them must have ended. Mail that was delivered shows in the hot store a little later, so an audit that finds
/// something looks again until `patience` is over.
///
/// # Errors
/// As [`SqlEngine::query`].
pub async fn audit(engine: &SqlEngine, screened_to: &Positions, patience: Duration) -> Result<AuditReport, SqlError> {
    let begun = Instant::now();
    loop {
        let report = Box::pin(reconcile(engine, screened_to)).await?;
        if report.is_clean() || begun.elapsed() >= patience {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// The order in which rows are taken: what follows from a message before the message. All that screening has passed
/// has its outcome already, and each row that is seen finds what it came from.
const PINNED: [Table; 5] = [Table::Delivery, Table::DeadLetter, Table::Emails, Table::EmailState, Table::Reception];

async fn reconcile(engine: &SqlEngine, screened_to: &Positions) -> Result<AuditReport, SqlError> {
    let session = engine.session(&PINNED).await?;
    let outcomes = outcomes(screened_to);
    let counts = format!(
        "{outcomes} SELECT count(*), \
         coalesce(sum(CASE WHEN events = 0 AND letters > 0 THEN 1 ELSE 0 END), 0), \
         coalesce(sum(CASE WHEN events = 0 AND letters = 0 AND NOT is_due THEN 1 ELSE 0 END), 0) FROM outcomes"
    );
    let counts = session.query(&counts).await?;
    let events = "SELECT coalesce(sum(CASE WHEN event = 'delivery' THEN 1 ELSE 0 END), 0), \
                  coalesce(sum(CASE WHEN event = 'duplicate' THEN 1 ELSE 0 END), 0), \
                  coalesce(sum(CASE WHEN event = 'quarantine' THEN 1 ELSE 0 END), 0) FROM delivery";
    let events = session.query(events).await?;
    let receptions = session.query("SELECT count(*) FROM reception").await?;
    let mut report = AuditReport {
        receptions: number(&receptions, 0),
        recipients: number(&counts, 0),
        dead_lettered: number(&counts, 1),
        in_flight: number(&counts, 2),
        delivered: number(&events, 0),
        duplicates: number(&events, 1),
        quarantined: number(&events, 2),
        findings: Vec::new(),
    };
    let due = [
        (
            "recipients whose message was screened and never ended: neither delivered, duplicate, quarantined nor \
             dead-lettered",
            format!("{outcomes} SELECT {WHO} AS id FROM outcomes WHERE events = 0 AND letters = 0 AND is_due"),
        ),
        (
            "recipients whose message ended more than once",
            format!("{outcomes} SELECT {WHO} AS id FROM outcomes WHERE events > receptions"),
        ),
    ];
    for (what, sql) in due.into_iter().chain(CHECKS.map(|(what, sql)| (what, sql.to_owned()))) {
        report.findings.extend(find(&session, what, &sql).await?);
    }
    Ok(report)
}

const WHO: &str = "concat(message_id, ' ', account_id)";

/// One row for each message and recipient: how often it was received and ended, dead letters (the recipient's own, or
/// the whole message's), and whether it must have ended by now.
fn outcomes(screened_to: &Positions) -> String {
    let positions: Vec<_> = screened_to.iter().map(|(partition, next)| format!("({partition}, {next})")).collect();
    let positions = if positions.is_empty() { "(-1, 0)".to_owned() } else { positions.join(", ") };
    format!(
        "WITH screened_to(log_partition, next) AS (VALUES {positions}),
         due AS (
             SELECT message_id, split_part(recipient, ' ', 1) AS account_id, count(*) AS receptions, bool_or(is_due) AS is_due
             FROM (
                 SELECT r.message_id, unnest(r.recipients) AS recipient, r.log_offset < coalesce(s.next, 0) AS is_due
                 FROM reception r LEFT JOIN screened_to s ON r.log_partition = s.log_partition
             )
             GROUP BY message_id, split_part(recipient, ' ', 1)
         ),
         ended AS (
             SELECT message_id, account_id, count(*) AS events FROM delivery
             WHERE event IN ('delivery', 'duplicate', 'quarantine') GROUP BY message_id, account_id
         ),
         letters AS (
             SELECT message_id, split_part(recipient, ' ', 1) AS account_id, count(*) AS letters FROM dead_letter
             WHERE message_id IS NOT NULL AND recipient IS NOT NULL GROUP BY message_id, split_part(recipient, ' ', 1)
         ),
         whole_letters AS (
             SELECT message_id, count(*) AS letters FROM dead_letter
             WHERE message_id IS NOT NULL AND recipient IS NULL GROUP BY message_id
         ),
         outcomes AS (
             SELECT due.message_id, due.account_id, due.receptions, due.is_due, coalesce(ended.events, 0) AS events,
                    coalesce(letters.letters, 0) + coalesce(whole_letters.letters, 0) AS letters
             FROM due
             LEFT JOIN ended ON ended.message_id = due.message_id AND ended.account_id = due.account_id
             LEFT JOIN letters ON letters.message_id = due.message_id AND letters.account_id = due.account_id
             LEFT JOIN whole_letters ON whole_letters.message_id = due.message_id
         )"
    )
}

/// Records that are in an event table more than once.
macro_rules! doubled {
    ($table:literal) => {
        concat!(
            "SELECT concat(CAST(log_partition AS VARCHAR), ':', CAST(log_offset AS VARCHAR)) AS id FROM ",
            $table,
            " GROUP BY log_partition, log_offset HAVING count(*) > 1"
        )
    };
}

/// What must not be, and a query for the ids of which it is.
const CHECKS: [(&str, &str); 10] = [
    (
        "events of messages that were never received for that account",
        "SELECT concat(d.message_id, ' ', d.account_id) AS id FROM delivery d
         LEFT ANTI JOIN (
             SELECT message_id, split_part(recipient, ' ', 1) AS account_id
             FROM (SELECT message_id, unnest(recipients) AS recipient FROM reception)
         ) r ON r.message_id = d.message_id AND r.account_id = d.account_id
         WHERE d.account_id IS NOT NULL",
    ),
    (
        "deliveries without an email",
        "SELECT concat(d.email_id, ' ', d.account_id) AS id FROM delivery d
         LEFT ANTI JOIN emails e ON e.account_id = d.account_id AND e.email_id = d.email_id
         WHERE d.event = 'delivery' AND d.account_id IS NOT NULL",
    ),
    (
        "deliveries without a state",
        "SELECT concat(d.email_id, ' ', d.account_id) AS id FROM delivery d
         LEFT ANTI JOIN email_state s ON s.account_id = d.account_id AND s.email_id = d.email_id
         WHERE d.event = 'delivery' AND d.account_id IS NOT NULL",
    ),
    (
        "emails whose message was never received",
        "SELECT concat(e.email_id, ' ', e.account_id) AS id FROM emails e
         LEFT ANTI JOIN reception r ON r.message_id = e.message_id",
    ),
    (
        "emails that an account has twice",
        "SELECT concat(email_id, ' ', account_id) AS id FROM emails GROUP BY email_id, account_id HAVING count(*) > 1",
    ),
    (
        "emails that were delivered to an account twice",
        "SELECT concat(email_id, ' ', account_id) AS id FROM delivery WHERE event = 'delivery' AND account_id IS NOT NULL
         GROUP BY email_id, account_id HAVING count(*) > 1",
    ),
    ("records that are twice in reception", doubled!("reception")),
    ("records that are twice in screened", doubled!("screened")),
    ("records that are twice in delivery", doubled!("delivery")),
    ("records that are twice in dead_letter", doubled!("dead_letter")),
];

async fn find(session: &SqlSession<'_>, what: &'static str, sql: &str) -> Result<Option<Finding>, SqlError> {
    // The sort makes the first ids the same ones each time; it keeps no more than it shows.
    let count = number(&session.query(&format!("SELECT count(*) FROM ({sql})")).await?, 0);
    if count == 0 {
        return Ok(None);
    }
    let rows = session.query(&format!("SELECT id FROM ({sql}) ORDER BY id LIMIT {NAMED}")).await?;
    let ids = |batch: &RecordBatch| -> Vec<String> {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
        column.map(|ids| ids.as_string::<i32>().iter().flatten().map(str::to_owned).collect()).unwrap_or_default()
    };
    Ok(Some(Finding { what, count, first: rows.iter().flat_map(ids).collect() }))
}

/// The number in a column of a result of one row.
fn number(rows: &[RecordBatch], column: usize) -> u64 {
    let row = rows.iter().find(|batch| batch.num_rows() > 0);
    let value = row.and_then(|row| row.column(column).as_primitive_opt::<Int64Type>().map(|column| column.value(0)));
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}
