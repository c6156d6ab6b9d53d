//! Versions and facts as rows of the tables `emails` and `email_state`, and back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::labels;
use super::summary::Summary;
use super::version::{EmailVersion, Facts};
use crate::tables::{Table, arrow_schema};

/// A version and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) account_id: Arc<str>,
    pub(crate) version: Arc<EmailVersion>,
}

/// Columns of `email_state` that a version is made of.
pub(crate) const STATE_COLUMNS: [&str; 10] = [
    "email_id",
    "received_at",
    "thread_id",
    "size_bytes",
    "mailboxes",
    "keywords",
    "is_destroyed",
    "is_tombstone",
    "seq",
    "created_seq",
];

/// Columns of `emails` that facts are made of.
pub(crate) const FACT_COLUMNS: [&str; 12] = [
    "account_id",
    "email_id",
    "message_id",
    "thread_id",
    "received_at",
    "sent_at",
    "recipient",
    "size_bytes",
    "body",
    "summary",
    "mailbox",
    "seq",
];

fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional_text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn long(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn boolean(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.map(Some)))
}

fn time(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("+00:00"))
}

/// Offsets of a log stay below 2^63.
fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn batch(table: Table, columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let mut columns: HashMap<&str, ArrayRef> = columns.into_iter().collect();
    let schema = arrow_schema(table);
    let ordered = schema.fields().iter().map(|field| {
        columns
            .remove(field.name().as_str())
            .ok_or_else(|| ArrowError::SchemaError(format!("no column '{}' is made for {table}", field.name())))
    });
    RecordBatch::try_new(schema.clone(), ordered.collect::<Result<_, _>>()?)
}

/// The rows of `emails`: one for each delivery among `rows`.
pub(crate) fn emails_batch<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<RecordBatch, ArrowError> {
    let facts: Vec<&Facts> =
        rows.filter(|row| row.version.is_delivery()).filter_map(|row| row.version.facts.as_deref()).collect();
    let summaries: Vec<String> = facts.iter().map(|facts| facts.summary.to_json()).collect();
    let to: Vec<Option<String>> = facts.iter().map(|facts| to_addresses(&facts.summary)).collect();
    let first = |facts: &&'a Facts| facts.summary.from.first();
    let all = || facts.iter();
    batch(
        Table::Emails,
        vec![
            ("account_id", text(all().map(|facts| facts.account_id.as_str()))),
            ("email_id", text(all().map(|facts| facts.email_id.as_str()))),
            ("message_id", text(all().map(|facts| facts.message_id.as_str()))),
            ("thread_id", text(all().map(|facts| facts.thread_id.as_str()))),
            ("received_at", time(all().map(|facts| Some(facts.received_at_us)))),
            ("sent_at", time(all().map(|facts| facts.sent_at_us))),
            ("recipient", text(all().map(|facts| facts.recipient.as_str()))),
            ("size_bytes", long(all().map(|facts| facts.size_bytes))),
            ("body", text(all().map(|facts| facts.body.as_str()))),
            ("subject", optional_text(all().map(|facts| facts.summary.subject.as_deref()))),
            ("from_address", optional_text(all().map(|facts| first(facts).map(|from| from.email.as_str())))),
            ("from_name", optional_text(all().map(|facts| first(facts)?.name.as_deref()))),
            ("to_addresses", optional_text(to.iter().map(Option::as_deref))),
            ("has_attachment", boolean(all().map(|facts| facts.summary.has_attachment))),
            ("preview", optional_text(all().map(|facts| Some(facts.summary.preview.as_str())))),
            ("summary", text(summaries.iter().map(String::as_str))),
            ("mailbox", text(all().map(|facts| facts.mailbox.as_str()))),
            ("seq", long(all().map(|facts| signed(facts.seq)))),
        ],
    )
}

fn to_addresses(summary: &Summary) -> Option<String> {
    let emails: Vec<&str> = summary.to.iter().map(|address| address.email.as_str()).collect();
    (!emails.is_empty()).then(|| emails.join(", "))
}

/// The rows of `email_state`: each version, and for one that crossed between read and unread the tombstone of the side
/// that it left.
pub(crate) fn state_batch<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<RecordBatch, ArrowError> {
    let mut sides: Vec<(&Row, bool)> = Vec::new();
    for row in rows {
        if row.version.has_crossed {
            sides.push((row, true));
        }
        sides.push((row, false));
    }
    let mailboxes: Vec<String> = sides.iter().map(|(row, _)| labels::to_json(&row.version.mailboxes)).collect();
    let keywords: Vec<String> = sides.iter().map(|(row, _)| labels::to_json(&row.version.keywords)).collect();
    let all = || sides.iter().map(|(row, _)| row.version.as_ref());
    batch(
        Table::EmailState,
        vec![
            ("account_id", text(sides.iter().map(|(row, _)| row.account_id.as_ref()))),
            ("email_id", text(all().map(|version| version.email_id.as_ref()))),
            ("received_at", time(all().map(|version| Some(version.received_at_us)))),
            ("thread_id", text(all().map(|version| version.thread_id.as_ref()))),
            ("size_bytes", long(all().map(|version| version.size_bytes))),
            ("mailboxes", text(mailboxes.iter().map(String::as_str))),
            ("keywords", text(keywords.iter().map(String::as_str))),
            ("is_read", boolean(sides.iter().map(|(row, is_tombstone)| row.version.is_read() != *is_tombstone))),
            ("is_destroyed", boolean(all().map(|version| version.is_destroyed))),
            ("is_tombstone", boolean(sides.iter().map(|(_, is_tombstone)| *is_tombstone))),
            ("seq", long(all().map(|version| signed(version.seq)))),
            ("created_seq", long(all().map(|version| signed(version.created_seq)))),
        ],
    )
}

/// The columns of a batch by name.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn get(&self, name: &str) -> Result<&'a ArrayRef, ArrowError> {
        self.0.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("the batch has no column '{name}'")))
    }

    fn text(&self, name: &str) -> Result<&'a StringArray, ArrowError> {
        self.get(name)?.as_string_opt().ok_or_else(|| wrong(name))
    }

    fn long(&self, name: &str) -> Result<&'a Int64Array, ArrowError> {
        self.get(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(name))
    }

    fn boolean(&self, name: &str) -> Result<&'a BooleanArray, ArrowError> {
        self.get(name)?.as_boolean_opt().ok_or_else(|| wrong(name))
    }

    fn time(&self, name: &str) -> Result<&'a TimestampMicrosecondArray, ArrowError> {
        self.get(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong(name))
    }
}

fn wrong(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column '{name}' has another type than the table's"))
}

fn bad_labels(error: serde_json::Error) -> ArrowError {
    ArrowError::ParseError(format!("mailboxes or keywords are not a JSON list: {error}"))
}

/// The versions in a batch with [`STATE_COLUMNS`], tombstones left out, in any order.
pub(crate) fn versions_of(batch: &RecordBatch) -> Result<Vec<EmailVersion>, ArrowError> {
    let columns = Columns(batch);
    let (email_ids, thread_ids) = (columns.text("email_id")?, columns.text("thread_id")?);
    let (mailboxes, keywords) = (columns.text("mailboxes")?, columns.text("keywords")?);
    let (received_at, sizes) = (columns.time("received_at")?, columns.long("size_bytes")?);
    let (destroyed, tombstones) = (columns.boolean("is_destroyed")?, columns.boolean("is_tombstone")?);
    let (seqs, created_seqs) = (columns.long("seq")?, columns.long("created_seq")?);
    let mut versions = Vec::with_capacity(batch.num_rows());
    for row in (0..batch.num_rows()).filter(|row| !tombstones.value(*row)) {
        versions.push(EmailVersion {
            email_id: email_ids.value(row).into(),
            thread_id: thread_ids.value(row).into(),
            received_at_us: received_at.value(row),
            size_bytes: sizes.value(row),
            mailboxes: labels::from_json(mailboxes.value(row)).map_err(bad_labels)?,
            keywords: labels::from_json(keywords.value(row)).map_err(bad_labels)?,
            is_destroyed: destroyed.value(row),
            seq: seqs.value(row).unsigned_abs(),
            created_seq: created_seqs.value(row).unsigned_abs(),
            has_crossed: false,
            facts: None,
        });
    }
    Ok(versions)
}

/// The facts in a batch with [`FACT_COLUMNS`].
pub(crate) fn facts_of(batch: &RecordBatch) -> Result<Vec<Facts>, ArrowError> {
    let columns = Columns(batch);
    let (received_at, sent_at) = (columns.time("received_at")?, columns.time("sent_at")?);
    let (sizes, seqs) = (columns.long("size_bytes")?, columns.long("seq")?);
    let [account_ids, email_ids, message_ids, thread_ids] =
        ["account_id", "email_id", "message_id", "thread_id"].map(|name| columns.text(name));
    let [recipients, bodies, summaries, mailboxes] =
        ["recipient", "body", "summary", "mailbox"].map(|name| columns.text(name));
    let (account_ids, email_ids, message_ids, thread_ids) = (account_ids?, email_ids?, message_ids?, thread_ids?);
    let (recipients, bodies, summaries, mailboxes) = (recipients?, bodies?, summaries?, mailboxes?);
    let facts = |row: usize| Facts {
        account_id: account_ids.value(row).to_owned(),
        email_id: email_ids.value(row).to_owned(),
        message_id: message_ids.value(row).to_owned(),
        thread_id: thread_ids.value(row).to_owned(),
        received_at_us: received_at.value(row),
        sent_at_us: sent_at.is_valid(row).then(|| sent_at.value(row)),
        recipient: recipients.value(row).to_owned(),
        size_bytes: sizes.value(row),
        body: bodies.value(row).to_owned(),
        summary: Summary::parse(summaries.value(row)),
        mailbox: mailboxes.value(row).to_owned(),
        seq: seqs.value(row).unsigned_abs(),
    };
    Ok((0..batch.num_rows()).map(facts).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use millrace_schemas::{MailboxChange, MailboxPatch};

    use super::*;
    use crate::mail::apply::{apply, update};

    #[test]
    fn rows_come_back_as_they_went_and_a_crossing_leaves_a_tombstone() {
        let change = MailboxChange {
            kind: MailboxChange::DELIVERED.into(),
            account_id: "a".into(),
            email_id: "e".into(),
            received_at_us: Some(1_000_000),
            summary: Some(
                r#"{"subject":"s","from":[{"name":"N","email":"n@x"}],"sent_at":"2026-01-01T00:00:00Z"}"#.into(),
            ),
            ..MailboxChange::default()
        };
        let first = apply(None, &change, 3).unwrap();
        let patch = MailboxPatch { keywords: [("$seen".to_owned(), true)].into(), ..MailboxPatch::default() };
        let read = update(&first, &patch, 4).unwrap();
        let row = |version: &EmailVersion| Row { account_id: "a".into(), version: Arc::new(version.clone()) };
        let rows = [row(&first), row(&read)];

        let emails = emails_batch(rows.iter()).unwrap();
        assert_eq!(facts_of(&emails).unwrap(), [first.facts.as_deref().unwrap().clone()]);
        let state = state_batch(rows.iter()).unwrap();
        assert_eq!(state.num_rows(), 3);
        let sides: Vec<_> = state.column_by_name("is_read").unwrap().as_boolean().iter().flatten().collect();
        assert_eq!(sides, [false, false, true]);
        let back = versions_of(&state).unwrap();
        let wanted = [first.without_facts(), EmailVersion { has_crossed: false, ..read.without_facts() }];
        assert_eq!(back, wanted);
    }
}
