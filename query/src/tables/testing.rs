//! Rows for tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use async_trait::async_trait;
use millrace_schemas::Reception;
use object_store::ObjectStore;

use super::catalog::{PointerCatalog, Pointers, Sqlite, Swap};
use super::storage::{Files, Objects};
use super::{CatalogError, Table, TableOptions, Tables, arrow_schema};

/// Tables in a bucket, with their catalog in `dir`.
pub(crate) async fn open_objects(dir: &Path, store: Arc<dyn ObjectStore>, options: TableOptions) -> Arc<Tables> {
    let files = Files::Objects(Objects::of_location("s3://test/a", store).unwrap());
    let sqlite = Sqlite::open(&dir.join("catalog.db")).unwrap();
    let catalog = Arc::new(PointerCatalog::new(sqlite, files.io()));
    Tables::open_with(catalog, files, "s3://test/a/warehouse".to_owned(), options).await.unwrap()
}

/// The tables of a data directory, whose catalog does not answer while it `is_away`.
pub(crate) async fn open_leaving(dir: &Path, is_away: Arc<AtomicBool>) -> Arc<Tables> {
    let inner = Sqlite::open(&dir.join("catalog.db")).unwrap();
    let catalog = Arc::new(PointerCatalog::new(Leaving { inner, is_away }, Files::Local.io()));
    let warehouse = format!("file://{}/warehouse", dir.canonicalize().unwrap().display());
    Tables::open_with(catalog, Files::Local, warehouse, TableOptions::default()).await.unwrap()
}

struct Leaving {
    inner: Sqlite,
    is_away: Arc<AtomicBool>,
}

impl Leaving {
    fn check(&self) -> Result<(), CatalogError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(CatalogError::Unavailable { at: "test".to_owned(), reason: "it is away".to_owned() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Pointers for Leaving {
    async fn all(&self) -> Result<Vec<(Table, String)>, CatalogError> {
        self.check()?;
        self.inner.all().await
    }

    async fn get(&self, table: Table) -> Result<Option<String>, CatalogError> {
        self.check()?;
        self.inner.get(table).await
    }

    async fn insert(&self, table: Table, location: &str) -> Result<bool, CatalogError> {
        self.inner.insert(table, location).await
    }

    /// Is made when the catalog is back, whether anybody still waits for that or not.
    async fn swap(&self, table: Table, expected: &str, next: &str) -> Result<Swap, CatalogError> {
        let (inner, is_away) = (self.inner.clone(), self.is_away.clone());
        let (expected, next) = (expected.to_owned(), next.to_owned());
        let swap = tokio::spawn(async move {
            while is_away.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            inner.swap(table, &expected, &next).await
        });
        swap.await.unwrap()
    }
}

pub(crate) const T0: i64 = 1_790_000_000_000_000;

pub(crate) fn reception(n: i64) -> Reception {
    Reception {
        message_id: format!("m{n:05}"),
        received_at_us: T0 + n,
        origin: "smtp".into(),
        remote_ip: "192.0.2.1".into(),
        helo: "client.example".into(),
        server_name: "mx.millrace.test".into(),
        is_tls: true,
        is_smtputf8: false,
        reverse_path: (n % 2 == 0).then(|| "sender@example.org".into()),
        forward_path: vec!["a@millrace.test".into(), "한국@millrace.test".into()],
        recipients: vec!["acc1 a@millrace.test".into()],
        body: format!("2026-11-23/01JDCMAAAAAAAAAAAAAAAAAAAA.pack:{n}:10"),
        trace_bytes: 3,
        size_bytes: 100 + n,
        body_digest: "00".into(),
    }
}

/// Emails numbered `numbers` of accounts `acc0`, `acc1`, … in turn; `seq` is the number.
pub(crate) fn emails(numbers: std::ops::Range<i64>, accounts: i64) -> RecordBatch {
    let texts = |make: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(numbers.clone().map(make)))
    };
    let longs = |make: &dyn Fn(i64) -> i64| -> Vec<i64> { numbers.clone().map(make).collect() };
    let nulls: ArrayRef = Arc::new(StringArray::new_null(numbers.clone().count()));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(longs(&|n| T0 + n)).with_timezone("+00:00"));
    let columns: Vec<ArrayRef> = vec![
        texts(&|n| format!("acc{}", n % accounts)),
        texts(&|n| format!("e{n:06}")),
        texts(&|n| format!("e{n:06}")),
        texts(&|n| format!("t{n}")),
        times.clone(),
        times,
        texts(&|n| format!("user{}@millrace.test", n % accounts)),
        Arc::new(Int64Array::from(longs(&|n| n * 10))),
        texts(&|n| format!("2026-11-23/01JDCMAAAAAAAAAAAAAAAAAAAA.pack:{n}:10")),
        texts(&|n| format!("제목 subject-secret {n}")),
        texts(&|n| format!("person{n}@example.org")),
        nulls.clone(),
        nulls.clone(),
        Arc::new(BooleanArray::from_iter(numbers.clone().map(|n| Some(n % 3 == 0)))),
        nulls,
        texts(&|n| format!(r#"{{"subject":"제목 subject-secret {n}"}}"#)),
        texts(&|_| "inbox".into()),
        Arc::new(Int64Array::from(longs(&|n| n))),
    ];
    RecordBatch::try_new(arrow_schema(Table::Emails), columns).unwrap()
}

/// One state row: account, email number, seq, is_read, is_destroyed, is_tombstone.
pub(crate) type StateRow = (&'static str, i64, i64, bool, bool, bool);

pub(crate) fn states(rows: &[StateRow]) -> RecordBatch {
    let texts = |make: &dyn Fn(&StateRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(make)))
    };
    let longs = |make: &dyn Fn(&StateRow) -> i64| -> Vec<i64> { rows.iter().map(make).collect() };
    let flags = |make: &dyn Fn(&StateRow) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(make(row)))))
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|row| row.0.to_owned()),
        texts(&|row| format!("e{:06}", row.1)),
        Arc::new(TimestampMicrosecondArray::from(longs(&|row| T0 + row.1)).with_timezone("+00:00")),
        texts(&|row| format!("t{}", row.1)),
        Arc::new(Int64Array::from(longs(&|row| row.1 * 10))),
        texts(&|_| r#"["inbox"]"#.to_owned()),
        texts(&|row| if row.3 { r#"["$seen"]"#.to_owned() } else { "[]".to_owned() }),
        flags(&|row| row.3),
        flags(&|row| row.4),
        flags(&|row| row.5),
        Arc::new(Int64Array::from(longs(&|row| row.2))),
        Arc::new(Int64Array::from(longs(&|row| row.1))),
    ];
    let schema: &Schema = &arrow_schema(Table::EmailState);
    RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
}
