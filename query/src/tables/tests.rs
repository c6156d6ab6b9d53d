//! Commits and reads of whole tables.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::json::writer::LineDelimited;
use futures::TryStreamExt;
use iceberg::spec::{FormatVersion, ManifestList};
use millrace_schemas::{Topic, arrow::BatchDecoder};

use super::testing::{T0, emails, reception, states};
use super::{Positions, Table, TableError, TableOptions, TableSnapshot, Tables, event_batch, storage, write};

async fn open(dir: &Path) -> Arc<Tables> {
    Tables::open(dir, TableOptions { buckets: 4, cache_bytes: 1 << 20 }).await.unwrap()
}

fn seqs(batches: &[RecordBatch]) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>().values().to_vec();
    let mut all: Vec<i64> = batches.iter().flat_map(column).collect();
    all.sort_unstable();
    all
}

async fn all_seqs(snapshot: &TableSnapshot) -> Vec<i64> {
    let batches: Vec<_> = snapshot.scan(&["seq"]).await.unwrap().try_collect().await.unwrap();
    seqs(&batches)
}

fn at(partition: u32, offset: u64) -> Positions {
    Positions::from([(partition, offset)])
}

#[tokio::test]
async fn rows_and_positions_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    assert_eq!(tables.positions(Table::Emails), Positions::new());
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, Vec::<i64>::new());
    tables.append(Table::Emails, vec![emails(0..50, 7), emails(50..100, 7)], at(0, 100)).await.unwrap();
    tables.append(Table::Emails, vec![emails(100..120, 7)], at(1, 20)).await.unwrap();
    let (before, rows) = (tables.positions(Table::Emails), all_seqs(&tables.snapshot(Table::Emails)).await);
    drop(tables);
    let tables = open(dir.path()).await;
    assert_eq!(before, Positions::from([(0, 100), (1, 20)]));
    assert_eq!(tables.positions(Table::Emails), before);
    assert_eq!(tables.snapshot(Table::Emails).positions(), &before);
    assert_eq!(rows, (0..120).collect::<Vec<_>>());
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, rows);
    assert_eq!(tables.snapshot(Table::Emails).rows(), 120);
}

#[tokio::test]
async fn an_account_reads_its_own_rows_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    for n in 0..5 {
        tables.append(Table::Emails, vec![emails(n * 400..n * 400 + 400, 13)], at(0, n as u64 + 1)).await.unwrap();
    }
    let snapshot = tables.snapshot(Table::Emails);
    for _ in 0..2 {
        for account in 0..13 {
            let rows = snapshot.read_account(&format!("acc{account}"), &["seq", "account_id"]).await.unwrap();
            assert_eq!(seqs(&rows), (0..2000).filter(|n| n % 13 == account).collect::<Vec<_>>());
            for batch in &rows {
                assert!(batch.column(1).as_string::<i32>().iter().all(|id| id == Some(&format!("acc{account}"))));
            }
        }
    }
    assert!(snapshot.read_account("nobody", &["seq"]).await.unwrap().is_empty());
    assert!(matches!(snapshot.read_account("acc0", &["nothing"]).await, Err(TableError::NoColumn { .. })));
    let events = tables.snapshot(Table::Reception);
    assert!(matches!(events.read_account("acc0", &["body"]).await, Err(TableError::NotByAccount(_))));
}

#[tokio::test]
async fn a_file_is_newest_first_within_an_account() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![emails(0..3000, 2)], at(0, 1)).await.unwrap();
    let rows = tables.snapshot(Table::Emails).read_account("acc1", &["received_at"]).await.unwrap();
    let times: Vec<i64> = rows
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec())
        .collect();
    assert_eq!(times.len(), 1500);
    assert!(times.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn single_emails_are_found_by_time_and_id() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![emails(0..5000, 3)], at(0, 1)).await.unwrap();
    tables.append(Table::Emails, vec![emails(5000..5010, 3)], at(0, 2)).await.unwrap();
    let wanted: Vec<(i64, String)> = [0, 2997, 5007, 1].iter().map(|n| (T0 + n, format!("e{n:06}"))).collect();
    let columns = ["email_id", "subject", "seq", "sent_at"];
    let rows = tables.snapshot(Table::Emails).read_emails("acc0", &wanted, &columns).await.unwrap();
    // Email 1 is another account's.
    assert_eq!(seqs(&rows), vec![0, 2997, 5007]);
    assert_eq!(rows[0].schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), columns);
    assert!(tables.snapshot(Table::Emails).read_emails("acc0", &[], &columns).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_snapshot_does_not_change_while_others_commit() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let snapshot = tables.snapshot(Table::Emails);
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(all_seqs(&snapshot).await.len(), 10);
    assert_eq!(snapshot.positions(), &at(0, 10));
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await.len(), 20);
}

#[tokio::test]
async fn a_crash_before_the_swap_leaves_the_table_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let slot_state = tables.state_for_test(Table::Emails);
    let io = storage::file_io();
    let files = write::write(Table::Emails, &slot_state.metadata, &io, vec![emails(10..20, 3)]).await.unwrap();
    let append = super::commit::Append::prepare(&slot_state, &io, files, at(0, 20)).await.unwrap();
    append.onto(&slot_state, &io, 0).await.unwrap();
    // Everything is on disk, and the process ends here.
    drop(tables);
    let tables = open(dir.path()).await;
    assert_eq!(tables.positions(Table::Emails), at(0, 10));
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..10).collect::<Vec<_>>());
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_committers_of_different_partitions_both_land() {
    let dir = tempfile::tempdir().unwrap();
    let lander = |tables: Arc<Tables>, partition: u32| async move {
        for n in 0..6_i64 {
            let first = i64::from(partition) * 1000 + n * 10;
            tables
                .append(Table::Emails, vec![emails(first..first + 10, 3)], at(partition, n as u64 + 1))
                .await
                .unwrap();
        }
    };
    let (one, two) = (open(dir.path()).await, open(dir.path()).await);
    tokio::join!(lander(one.clone(), 0), lander(two.clone(), 1));
    one.refresh(Table::Emails).await.unwrap();
    let wanted: Vec<i64> = (0..60).chain(1000..1060).collect();
    assert_eq!(all_seqs(&one.snapshot(Table::Emails)).await, wanted);
    let tables = open(dir.path()).await;
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, wanted);
    assert_eq!(tables.positions(Table::Emails), Positions::from([(0, 6), (1, 6)]));
}

#[tokio::test]
async fn records_that_another_process_landed_are_not_landed_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()).await, open(dir.path()).await);
    one.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let error = two.append(Table::Emails, vec![emails(0..15, 3)], at(0, 15)).await.unwrap_err();
    assert!(matches!(error, TableError::Superseded { partition: 0, expected: 0, found: 10, .. }), "{error}");
    // It now knows where to go on, and its files are gone.
    assert_eq!(two.positions(Table::Emails), at(0, 10));
    two.append(Table::Emails, vec![emails(10..15, 3)], at(0, 15)).await.unwrap();
    assert_eq!(all_seqs(&two.snapshot(Table::Emails)).await, (0..15).collect::<Vec<_>>());
    let error = one.append(Table::Emails, vec![], at(0, 5)).await.unwrap_err();
    assert!(matches!(error, TableError::Backwards { from: 10, to: 5, .. }), "{error}");
}

#[tokio::test]
async fn positions_move_without_rows_and_are_carried_forward() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![], at(2, 7)).await.unwrap();
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let state = tables.state_for_test(Table::Emails);
    for (snapshot, positions) in state.metadata.current_snapshot().into_iter().zip([r#"{"0":10,"2":7}"#]) {
        let summary = &snapshot.summary().additional_properties;
        assert_eq!(summary["millrace.positions"], format!(r#"{{"mailbox.changes":{positions}}}"#));
    }
}

#[tokio::test]
async fn totals_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    for n in 0..3_i64 {
        tables.append(Table::Emails, vec![emails(n * 10..n * 10 + 10, 5)], at(0, n as u64 + 1)).await.unwrap();
    }
    let state = tables.state_for_test(Table::Emails);
    let summary = &state.metadata.current_snapshot().unwrap().summary().additional_properties;
    let files = state.files().count();
    let bytes: u64 = state.files().map(|file| file.size_bytes).sum();
    assert_eq!(summary["total-records"], "30");
    assert_eq!(summary["added-records"], "10");
    assert_eq!(summary["total-data-files"], files.to_string());
    assert_eq!(summary["total-files-size"], bytes.to_string());
    assert_eq!(summary["total-delete-files"], "0");
    let on_disk: u64 = state.files().map(|file| std::fs::metadata(file.path.as_ref()).unwrap().len()).sum();
    assert_eq!(bytes, on_disk);
}

/// What people wrote must not be in manifests, which outlive rows and are read by everyone.
#[tokio::test]
async fn manifests_hold_no_subjects_and_no_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    tables.append(Table::Emails, vec![emails(0..100, 5)], at(0, 1)).await.unwrap();
    let state = tables.state_for_test(Table::Emails);
    let io = storage::file_io();
    let list = io.new_input(state.metadata.current_snapshot().unwrap().manifest_list()).unwrap().read().await.unwrap();
    let list = ManifestList::parse_with_version(&list, FormatVersion::V2).unwrap();
    let mut bounded = BTreeSet::new();
    for manifest in list.entries() {
        let text = io.new_input(&manifest.manifest_path).unwrap().read().await.unwrap();
        for secret in ["subject-secret", "person", "@millrace.test", "example.org"] {
            assert!(!text.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        for entry in manifest.load_manifest(&io).await.unwrap().entries() {
            bounded.extend(entry.data_file().lower_bounds().keys().copied());
        }
    }
    let schema = state.metadata.current_schema();
    let names: BTreeSet<&str> = bounded.into_iter().map(|id| schema.name_by_field_id(id).unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["account_id", "email_id", "received_at", "seq"]));
}

#[tokio::test]
async fn both_sides_of_a_crossing_are_in_one_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    let delivered = states(&[("acc1", 1, 1, false, false, false)]);
    tables.append(Table::EmailState, vec![delivered], at(0, 2)).await.unwrap();
    let crossing = states(&[("acc1", 1, 5, false, false, true), ("acc1", 1, 5, true, false, false)]);
    tables.append(Table::EmailState, vec![crossing], at(0, 6)).await.unwrap();
    let rows =
        tables.snapshot(Table::EmailState).read_account("acc1", &["seq", "is_read", "is_tombstone"]).await.unwrap();
    assert_eq!(seqs(&rows), vec![1, 5, 5]);
    let sides: Vec<(bool, bool)> = rows
        .iter()
        .flat_map(|batch| {
            let (read, gone) = (batch.column(1).as_boolean(), batch.column(2).as_boolean());
            (0..batch.num_rows()).map(|row| (read.value(row), gone.value(row))).collect::<Vec<_>>()
        })
        .collect();
    assert!(sides.contains(&(false, true)) && sides.contains(&(true, false)));
    let files = tables.snapshot(Table::EmailState).files().count();
    assert_eq!(files, 3, "one file for each of the sides");
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    let states = states(&[("acc1", 1, 1, false, false, false)]);
    let error = tables.append(Table::Emails, vec![states], at(0, 1)).await.unwrap_err();
    assert!(matches!(error, TableError::NoColumn { .. }), "{error}");
    assert_eq!(tables.positions(Table::Emails), Positions::new());
}

#[tokio::test]
async fn old_metadata_files_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    for n in 1..=110 {
        tables.append(Table::Emails, vec![], at(0, n)).await.unwrap();
    }
    let files = std::fs::read_dir(dir.path().join("warehouse/mail/emails/metadata")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".metadata.json")).count(), 101);
    drop(tables);
    assert_eq!(open(dir.path()).await.positions(Table::Emails), at(0, 110));
}

/// The rows as JSON, times as microseconds; sorted.
async fn as_json(snapshot: &TableSnapshot) -> Vec<String> {
    let schema = super::arrow_schema(snapshot.table());
    let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let batches: Vec<_> = snapshot.scan(&columns).await.unwrap().try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let plain = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Timestamp(..) => arrow::compute::cast(column, &DataType::Int64).unwrap(),
            _ => column.clone(),
        });
        let named =
            RecordBatch::try_from_iter_with_nullable(columns.iter().copied().zip(plain).map(|(n, c)| (n, c, true)));
        let mut out =
            arrow::json::writer::WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        out.write(&named.unwrap()).unwrap();
        rows.extend(sorted_json(std::str::from_utf8(&out.into_inner()).unwrap()));
    }
    rows.sort();
    rows
}

fn sorted_json(lines: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap().to_string()).collect();
    rows.sort();
    rows
}

/// `MILLRACE_PYTHON=… cargo test -p millrace-query --lib -- --ignored pyiceberg`
#[tokio::test]
#[ignore = "needs MILLRACE_PYTHON: a Python with pyiceberg[sql-sqlite,pyarrow]"]
async fn pyiceberg_reads_the_same_rows() {
    let python = std::env::var("MILLRACE_PYTHON").expect("MILLRACE_PYTHON is a Python with pyiceberg");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path()).await;
    for n in 0..3_i64 {
        tables.append(Table::Emails, vec![emails(n * 100..n * 100 + 100, 7)], at(0, n as u64 + 1)).await.unwrap();
    }
    let rows =
        [("acc1", 1, 1, false, false, false), ("acc1", 1, 5, true, false, false), ("acc2", 1, 5, false, true, true)];
    tables.append(Table::EmailState, vec![states(&rows)], at(0, 6)).await.unwrap();
    let records: Vec<_> = (0..50).map(|n| millrace_schemas::encode(&reception(n * 7_000_000_000)).unwrap()).collect();
    let decoded = BatchDecoder::new(Topic::Reception).decode(&records).unwrap();
    let rows = event_batch(Table::Reception, &decoded, 1, &(0..50).collect::<Vec<_>>()).unwrap();
    tables.append(Table::Reception, vec![rows], at(1, 50)).await.unwrap();
    let read = |table: Table, condition: Option<&str>| {
        let output = std::process::Command::new(&python)
            .arg(&script)
            .arg(dir.path())
            .arg(table.name())
            .args(condition)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        sorted_json(std::str::from_utf8(&output.stdout).unwrap())
    };
    for table in Table::ALL {
        assert_eq!(read(table, None), as_json(&tables.snapshot(table)).await, "{table}");
    }
    let all = as_json(&tables.snapshot(Table::Emails)).await;
    let of_acc3: Vec<_> = all.into_iter().filter(|row| row.contains("\"acc3\"")).collect();
    assert_eq!(of_acc3.len(), 43);
    assert_eq!(read(Table::Emails, Some("account_id=acc3")), of_acc3);
    assert_eq!(read(Table::EmailState, Some("is_read=true")).len(), 1);
}
