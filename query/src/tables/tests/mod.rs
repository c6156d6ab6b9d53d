//! Commits and reads of whole tables, wherever they are.
#![allow(clippy::unwrap_used)]

mod commits;
mod faults;
mod faulty;
mod lost_answers;
mod place;
mod proxy;
mod python;
mod races;
mod reads;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;

use self::place::Place;
use super::{Positions, TableSnapshot};

/// The same tests over every kind of catalog and store.
macro_rules! suite {
    ($($name:ident,)*) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::tables::tests::Place::local()).await;
            })*
        }
        mod objects {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::tables::tests::Place::objects()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs PostgreSQL and S3: compose/native/test"]
            async fn $name() {
                super::$name(crate::tables::tests::Place::postgres().await).await;
            })*
        }
        mod rest {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs an Iceberg REST catalog and S3: compose/native/test"]
            async fn $name() {
                super::$name(crate::tables::tests::Place::rest()).await;
            })*
        }
    };
}

use suite;

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
