//! PyIceberg reads what we write.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::json::writer::LineDelimited;
use futures::TryStreamExt;
use millrace_schemas::{Topic, arrow::BatchDecoder};

use super::at;
use crate::tables::testing::{emails, reception, states};
use crate::tables::{Table, TableOptions, TableSnapshot, Tables, arrow_schema, event_batch};

/// The rows as JSON, times as microseconds; sorted.
async fn as_json(snapshot: &TableSnapshot) -> Vec<String> {
    let schema = arrow_schema(snapshot.table());
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
    let tables = Tables::open(dir.path(), TableOptions::default()).await.unwrap();
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
