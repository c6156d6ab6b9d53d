//! The `.slt` files of `tests/sql`, limits, and the audit.
//!
//! A file holds blocks with an empty line between them: `query`, a statement, `----` and the rows wanted (columns with
//! a space between); or `error` with a part of the message wanted, and a statement.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use millrace_schemas::{DeadLetter, Delivery, Reception, Topic, arrow::BatchDecoder, encode};
use object_store::memory::InMemory;

use super::testing::{MemoryBlobs, MemoryLog, MemoryMail};
use super::{AuditReport, SqlEngine, SqlError, SqlOptions, audit, check_bodies};
use crate::tables::testing::{T0, emails, open_objects, reception, states};
use crate::tables::{Positions, Table, TableOptions, Tables, event_batch};

struct Fixture {
    dir: tempfile::TempDir,
    tables: Arc<Tables>,
    log: Arc<MemoryLog>,
    mail: Arc<MemoryMail>,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(dir.path(), TableOptions { buckets: 4, ..TableOptions::default() }).await.unwrap();
        Self { dir, tables, log: Arc::default(), mail: Arc::default() }
    }

    async fn in_objects() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = TableOptions { buckets: 4, ..TableOptions::default() };
        let tables = open_objects(dir.path(), Arc::new(InMemory::new()), options).await;
        Self { dir, tables, log: Arc::default(), mail: Arc::default() }
    }

    fn engine(&self, options: SqlOptions) -> SqlEngine {
        SqlEngine::new(self.tables.clone(), Some(self.log.clone()), Some(self.mail.clone()), options).unwrap()
    }

    /// Lands what the log has of a table's topic up to `end`, in one commit.
    async fn land(&self, table: Table, end: u64) {
        let from = self.tables.positions(table).get(&0).copied().unwrap_or(0);
        let records = self.log.records.lock()[&table.topic()][from as usize..end as usize].to_vec();
        let decoded = BatchDecoder::new(table.topic()).decode(&records).unwrap();
        let rows = event_batch(table, &decoded, 0, &(from..end).collect::<Vec<_>>()).unwrap();
        self.tables.append(table, vec![rows], at(end)).await.unwrap();
    }
}

fn at(offset: u64) -> Positions {
    Positions::from([(0, offset)])
}

fn delivery(n: i64, event: &str, detail: &str) -> Delivery {
    Delivery {
        message_id: format!("m{n:05}"),
        at_us: T0 + n,
        event: event.into(),
        account_id: Some("acc1".into()),
        recipient: "a@millrace.test".into(),
        email_id: Some(format!("m{n:05}")),
        reverse_path: None,
        remote_ip: None,
        size_bytes: 100 + n,
        detail: Some(detail.into()),
    }
}

/// What the comments at the top of the `.slt` files say.
async fn mixed(fixture: Fixture) -> Fixture {
    for n in 0..5 {
        fixture.log.push(&reception(n));
    }
    fixture.log.push_bytes(Topic::Reception, Bytes::from_static(b"damaged"));
    fixture.land(Table::Reception, 3).await;
    for (n, (event, detail)) in
        [("delivery", "inbox"), ("delivery", "junk"), ("duplicate", ""), ("quarantine", "EICAR")].iter().enumerate()
    {
        fixture.log.push(&delivery(n as i64, event, detail));
    }
    fixture.land(Table::Delivery, 1).await;
    fixture.tables.append(Table::Emails, vec![emails(0..10, 2)], at(100)).await.unwrap();
    let accounts = ["acc0", "acc1"];
    let delivered = |n: i64| (accounts[n as usize % 2], n, n, false, false, false);
    let landed: Vec<_> = (0..10).map(delivered).collect();
    fixture.tables.append(Table::EmailState, vec![states(&landed)], at(10)).await.unwrap();
    let changed =
        [("acc0", 2, 50, true, false, false), ("acc0", 2, 50, false, false, true), ("acc0", 4, 51, false, true, false)];
    fixture.tables.append(Table::EmailState, vec![states(&changed)], at(100)).await.unwrap();
    let fresh = [
        ("acc0", 6, 101, true, false, false),
        ("acc0", 6, 101, false, false, true),
        ("acc0", 6, 102, false, false, false),
        ("acc0", 6, 102, true, false, true),
        ("acc0", 10, 100, false, false, false),
        ("acc0", 10, 103, true, false, false),
        ("acc0", 10, 103, false, false, true),
        ("acc1", 11, 104, false, false, false),
    ];
    // Rows that have landed must not be given again.
    let landed_already = (Table::EmailState, 10, states(&changed));
    fixture.mail.rows.lock().extend([
        landed_already,
        (Table::Emails, 100, emails(10..12, 2)),
        (Table::EmailState, 100, states(&fresh)),
    ]);
    fixture
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

async fn check(engine: &SqlEngine, file: &str, block: &str) {
    let block: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
    let Some((head, rest)) = block.split_first() else { return };
    match head.split_once(' ').unwrap_or((head, "")) {
        ("query", "") => {
            let end = rest.iter().position(|line| *line == "----").expect("a query has its rows after ----");
            let sql = rest[..end].join("\n");
            let rows = engine.query(&sql).await.unwrap_or_else(|error| panic!("{file}: {sql}: {error}"));
            assert_eq!(lines(&rows), rest[end + 1..], "{file}: {sql}");
        }
        ("error", wanted) => {
            let sql = rest.join("\n");
            let error = engine.query(&sql).await.expect_err(&sql).to_string();
            assert!(error.contains(wanted), "{file}: {sql}: {error}");
        }
        _ => panic!("{file}: '{head}' is neither query nor error"),
    }
}

#[tokio::test]
async fn files_of_queries_get_the_rows_they_want() {
    queries_get_what_they_want(mixed(Fixture::new().await).await).await;
}

#[tokio::test]
async fn files_of_queries_get_the_same_rows_from_a_bucket() {
    queries_get_what_they_want(mixed(Fixture::in_objects().await).await).await;
}

async fn queries_get_what_they_want(fixture: Fixture) {
    let engine = fixture.engine(SqlOptions::default());
    let mut checked = 0;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("\n\n") {
            check(&engine, &path.display().to_string(), block).await;
            checked += 1;
        }
    }
    assert!(checked > 20);
}

#[tokio::test]
async fn rows_are_seen_once_while_they_land() {
    let fixture = Fixture::new().await;
    let engine = fixture.engine(SqlOptions::default());
    for n in 0..40_u64 {
        fixture.log.push(&reception(n as i64));
        if n % 7 == 3 {
            fixture.land(Table::Reception, n).await;
            // Retention takes what has landed.
            *fixture.log.kept_from.lock() = n - 2;
        }
        let rows = engine.query("SELECT count(*), count(DISTINCT log_offset) FROM reception").await.unwrap();
        assert_eq!(lines(&rows), [format!("{0} {0}", n + 1)]);
    }
}

#[tokio::test]
async fn commits_of_another_process_are_seen() {
    let fixture = mixed(Fixture::new().await).await;
    let engine = fixture.engine(SqlOptions::default());
    let other = Tables::open(fixture.dir.path(), TableOptions::default()).await.unwrap();
    assert_eq!(lines(&engine.query("SELECT count(*) FROM emails").await.unwrap()), ["12"]);
    other.append(Table::Emails, vec![emails(100..110, 2)], at(100)).await.unwrap();
    assert_eq!(lines(&engine.query("SELECT count(*) FROM emails").await.unwrap()), ["22"]);
}

#[tokio::test]
async fn a_query_has_its_limits() {
    let fixture = mixed(Fixture::new().await).await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) a(x) WHERE x % 3 = 7";
    let short = SqlOptions { timeout: Duration::from_millis(200), ..SqlOptions::default() };
    let error = fixture.engine(short).query(endless).await.unwrap_err();
    assert!(matches!(error, SqlError::Timeout(_)), "{error}");
    let small = SqlOptions { result_bytes: 100_000, ..SqlOptions::default() };
    let error = fixture.engine(small).query("SELECT * FROM generate_series(1, 1000000)").await.unwrap_err();
    assert!(matches!(error, SqlError::TooLarge(_)), "{error}");
    let tight = SqlOptions { memory_bytes: 3000, ..SqlOptions::default() };
    let error = fixture.engine(tight).query("SELECT count(*) FROM reception").await.unwrap_err();
    assert!(error.to_string().contains("have not landed"), "{error}");
}

/// Three messages screened and one not, each for one recipient.
async fn settled() -> Fixture {
    let fixture = Fixture::new().await;
    for n in 0..4 {
        let mut received: Reception = reception(n);
        received.recipients = vec!["acc1 a@millrace.test".into()];
        fixture.log.push(&received);
    }
    for n in [0, 1] {
        fixture.log.push(&delivery(n, "delivery", "inbox"));
    }
    fixture.log.push(&DeadLetter {
        stage: "summary".into(),
        error: "too deep".into(),
        failed_at_us: T0,
        message_id: Some("m00002".into()),
        ..DeadLetter::default()
    });
    let mut rows = fixture.mail.rows.lock();
    rows.push((Table::Emails, 0, mailed(0..2)));
    rows.push((Table::EmailState, 0, stated(0..2)));
    drop(rows);
    fixture
}

fn renamed(batch: &RecordBatch, columns: &[&str], numbers: std::ops::Range<i64>) -> RecordBatch {
    let names: arrow::array::ArrayRef =
        Arc::new(arrow::array::StringArray::from_iter_values(numbers.map(|n| format!("m{n:05}"))));
    let schema = batch.schema();
    let column = |(field, old): (&Arc<arrow::datatypes::Field>, &arrow::array::ArrayRef)| {
        if columns.contains(&field.name().as_str()) { names.clone() } else { old.clone() }
    };
    let columns = schema.fields().iter().zip(batch.columns()).map(column).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

fn mailed(numbers: std::ops::Range<i64>) -> RecordBatch {
    let rows = emails(numbers.clone(), 1);
    let accounts: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["acc1"; rows.num_rows()]));
    let mut columns = rows.columns().to_vec();
    columns[0] = accounts;
    renamed(&RecordBatch::try_new(rows.schema(), columns).unwrap(), &["email_id", "message_id"], numbers)
}

fn stated(numbers: std::ops::Range<i64>) -> RecordBatch {
    let rows: Vec<_> = numbers.clone().map(|n| ("acc1", n, n, false, false, false)).collect();
    renamed(&states(&rows), &["email_id"], numbers)
}

async fn audited(fixture: &Fixture) -> AuditReport {
    audit(&fixture.engine(SqlOptions::default()), &at(3), Duration::ZERO).await.unwrap()
}

#[tokio::test]
async fn an_audit_of_sound_tables_finds_nothing() {
    let fixture = settled().await;
    let report = audited(&fixture).await;
    assert!(report.is_clean(), "{report}");
    let counts = (report.receptions, report.recipients, report.delivered, report.dead_lettered, report.in_flight);
    assert_eq!(counts, (4, 4, 2, 1, 1));
    // Landing changes nothing.
    fixture.land(Table::Reception, 3).await;
    fixture.land(Table::Delivery, 1).await;
    assert_eq!(audited(&fixture).await, report);
}

async fn finds(fixture: &Fixture, what: &str, first: &[&str]) {
    let report = audited(fixture).await;
    let finding = report.findings.iter().find(|finding| finding.what.starts_with(what));
    let finding = finding.unwrap_or_else(|| panic!("not found: {what}\n{report}"));
    assert_eq!((finding.first.as_slice(), finding.count as usize), (first.map_to_owned().as_slice(), first.len()));
}

trait MapToOwned {
    fn map_to_owned(&self) -> Vec<String>;
}

impl MapToOwned for [&str] {
    fn map_to_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[tokio::test]
async fn an_audit_finds_what_is_missing() {
    let fixture = settled().await;
    fixture.log.records.lock().get_mut(&Topic::DeadLetter).unwrap().clear();
    finds(&fixture, "recipients whose message was screened and never ended", &["m00002 acc1"]).await;
    let fixture = settled().await;
    fixture.mail.rows.lock().retain(|(table, _, _)| *table != Table::Emails);
    finds(&fixture, "deliveries without an email", &["m00000 acc1", "m00001 acc1"]).await;
    let fixture = settled().await;
    fixture.mail.rows.lock().retain(|(table, _, _)| *table != Table::EmailState);
    finds(&fixture, "deliveries without a state", &["m00000 acc1", "m00001 acc1"]).await;
}

#[tokio::test]
async fn an_audit_finds_what_is_doubled_or_came_from_nowhere() {
    let fixture = settled().await;
    fixture.log.push(&delivery(1, "duplicate", ""));
    finds(&fixture, "recipients whose message ended more than once", &["m00001 acc1"]).await;
    fixture.log.push(&delivery(7, "quarantine", ""));
    finds(&fixture, "events of messages that were never received", &["m00007 acc1"]).await;
    let fixture = settled().await;
    fixture.mail.rows.lock().push((Table::Emails, 0, mailed(1..2)));
    finds(&fixture, "emails that an account has twice", &["m00001 acc1"]).await;
    fixture.mail.rows.lock().push((Table::Emails, 0, mailed(8..9)));
    finds(&fixture, "emails whose message was never received", &["m00008 acc1"]).await;
    let again = encode(&reception(0)).unwrap();
    let decoded = BatchDecoder::new(Topic::Reception).decode(&[again]).unwrap();
    let rows = event_batch(Table::Reception, &decoded, 0, &[0]).unwrap();
    fixture.tables.append(Table::Reception, vec![rows], Positions::new()).await.unwrap();
    finds(&fixture, "records that are twice in reception", &["0:0"]).await;
}

#[tokio::test]
async fn bodies_are_held_against_their_digest() {
    let fixture = Fixture::new().await;
    let mut blobs = MemoryBlobs::default();
    for n in 0..4 {
        let mut received = reception(n);
        received.body_digest = blake3::hash(b"sent").to_hex().to_string();
        fixture.log.push(&received);
        let body: &[u8] = [&b"Re:sent"[..], b"Re:sent", b"Re:other", b"R"][n as usize];
        if n != 1 {
            blobs.bodies.insert(received.body, Bytes::copy_from_slice(body));
        }
    }
    let mut calls = Vec::new();
    let engine = fixture.engine(SqlOptions::default());
    let report = check_bodies(&engine, &blobs, |done, total| calls.push((done, total))).await.unwrap();
    let damaged = report.damaged.unwrap();
    assert_eq!((report.checked, damaged.count), (4, 3));
    assert_eq!(calls.last(), Some(&(4, 4)));
    let mut first = damaged.first.clone();
    first.sort();
    assert!(first[0].starts_with("m00001: no body at") && first[2].contains("trace headers"), "{first:?}");
}
