//! PyIceberg reads what we write.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::json::writer::LineDelimited;
use futures::TryStreamExt;
use millrace_schemas::{Topic, arrow::BatchDecoder};
use serde_json::json;

use super::place::variable;
use super::{Place, at};
use crate::tables::testing::{emails, reception, states};
use crate::tables::{CatalogOptions, Table, TableSnapshot, arrow_schema, event_batch};

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
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MILLRACE_PYTHON: a Python with pyiceberg[sql-sqlite,pyarrow]"]
async fn pyiceberg_reads_the_same_rows() {
    reads_the_same_rows(Place::local()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and S3: compose/native/test, and MILLRACE_PYTHON: one with pyiceberg[sql-postgres,pyarrow]"]
async fn pyiceberg_reads_the_same_rows_by_postgres() {
    reads_the_same_rows(Place::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an Iceberg REST catalog and S3: compose/native/test, and MILLRACE_PYTHON: one with pyiceberg[pyarrow]"]
async fn pyiceberg_reads_the_same_rows_by_rest() {
    reads_the_same_rows(Place::rest()).await;
}

/// What the script takes for the place: a folder, or properties of PyIceberg.
fn argument(place: &Place) -> String {
    let mut catalog = match place {
        Place::Local(dir) => return dir.path().display().to_string(),
        Place::Rest { url, name, .. } => json!({ "type": "rest", "uri": url, "namespace": name }),
        Place::Shared { catalog: CatalogOptions::Postgres(options), .. } => {
            json!({ "type": "sql", "uri": options.url.replace("postgresql://", "postgresql+psycopg2://") })
        }
        _ => panic!("PyIceberg does not reach this"),
    };
    for (key, name) in [
        ("s3.endpoint", "MILLRACE_TEST_S3"),
        ("s3.access-key-id", "MILLRACE_TEST_S3_KEY"),
        ("s3.secret-access-key", "MILLRACE_TEST_S3_SECRET"),
    ] {
        catalog[key] = variable(name).into();
    }
    catalog["s3.region"] = "us-east-1".into();
    catalog.to_string()
}

async fn reads_the_same_rows(place: Place) {
    let python = std::env::var("MILLRACE_PYTHON").expect("MILLRACE_PYTHON is a Python with pyiceberg");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
    let argument = argument(&place);
    let tables = place.open().await;
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
            .arg(&argument)
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
