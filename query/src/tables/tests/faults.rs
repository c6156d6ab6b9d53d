//! Commits and reads while things fail: nothing is half visible, nothing is there twice.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::faulty::{CatalogFault, FaultyPointers, FaultyStore, PutFault};
use super::{Place, all_seqs, at};
use crate::tables::catalog::{PointerCatalog, Sqlite};
use crate::tables::storage::{Files, Objects};
use crate::tables::testing::emails;
use crate::tables::{Positions, Table, TableOptions, Tables};

async fn seqs_of_another(place: &Place) -> Vec<i64> {
    all_seqs(&place.open().await.snapshot(Table::Emails)).await
}

#[tokio::test]
async fn a_store_that_fails_in_a_commit_leaves_nothing_half_visible() {
    let store = Arc::new(FaultyStore::default());
    let place = Place::objects_in(store.clone());
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    for part in [".parquet", "-m0.avro", "/snap-", ".metadata.json"] {
        *store.fault.lock() = Some(PutFault::Refused(part));
        tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap_err();
        assert_eq!(tables.positions(Table::Emails), at(0, 10), "{part}");
        assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..10).collect::<Vec<_>>(), "{part}");
        *store.fault.lock() = None;
        assert_eq!(seqs_of_another(&place).await, (0..10).collect::<Vec<_>>(), "{part}");
    }
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(seqs_of_another(&place).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_of_the_store_may_get_lost() {
    let store = Arc::new(FaultyStore::default());
    let place = Place::objects_in(store.clone());
    let tables = place.open().await;
    *store.fault.lock() = Some(PutFault::Unheard(""));
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    assert_eq!(seqs_of_another(&place).await, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_given_up_leaves_nobody_waiting_and_the_next_goes_on() {
    let store = Arc::new(FaultyStore::default());
    let place = Place::objects_in(store.clone());
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    for part in [".parquet", "-m0.avro", "/snap-", ".metadata.json"] {
        *store.fault.lock() = Some(PutFault::Unanswered(part));
        let append = tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20));
        tokio::time::timeout(Duration::from_millis(300), append).await.unwrap_err();
        let begun = Instant::now();
        while Arc::strong_count(&store.waiting) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{part}: a put goes on for nobody");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *store.fault.lock() = None;
        assert_eq!(tables.resume(Table::Emails).await.unwrap(), at(0, 10), "{part}");
        assert_eq!(seqs_of_another(&place).await, (0..10).collect::<Vec<_>>(), "{part}");
    }
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(seqs_of_another(&place).await, (0..20).collect::<Vec<_>>());
}

/// A catalog in `dir` that fails, and its tables in memory.
async fn open(dir: &tempfile::TempDir, files: &Files) -> (FaultyPointers, Arc<Tables>) {
    let pointers = FaultyPointers::new(Sqlite::open(&dir.path().join("catalog.db")).unwrap());
    let catalog = Arc::new(PointerCatalog::new(pointers.clone(), files.io()));
    let tables = Tables::open_with(catalog, files.clone(), "s3://test".to_owned(), TableOptions::default());
    (pointers, tables.await.unwrap())
}

fn in_memory() -> Files {
    Files::Objects(Objects::of_location("s3://test", Arc::new(FaultyStore::default())).unwrap())
}

#[tokio::test]
async fn a_commit_that_nobody_hears_of_takes_place_once() {
    let late = |ms| CatalogFault::Late(Duration::from_millis(ms));
    let scripts = [
        vec![CatalogFault::DoneUnheard],
        vec![CatalogFault::LostUnheard],
        vec![CatalogFault::LostUnheard, CatalogFault::LostUnheard, CatalogFault::DoneUnheard],
        vec![late(0)],
        vec![late(15)],
        vec![late(60), late(30), late(5)],
        vec![late(40), CatalogFault::LostUnheard],
    ];
    for script in scripts {
        let (dir, files) = (tempfile::tempdir().unwrap(), in_memory());
        let (pointers, tables) = open(&dir, &files).await;
        for n in 0..5_i64 {
            *pointers.faults.lock() = script.iter().rev().cloned().collect();
            let positions = at(0, n as u64 + 1);
            tables.append(Table::Emails, vec![emails(n * 10..n * 10 + 10, 3)], positions).await.unwrap();
        }
        // A swap that came too late changes nothing any more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (_, other) = open(&dir, &files).await;
        for tables in [&tables, &other] {
            assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..50).collect::<Vec<_>>(), "{script:?}");
            assert_eq!(tables.positions(Table::Emails), at(0, 5), "{script:?}");
        }
    }
}

#[tokio::test]
async fn a_commit_that_nobody_hears_of_meets_those_of_others() {
    let (dir, files) = (tempfile::tempdir().unwrap(), in_memory());
    let (pointers, one) = open(&dir, &files).await;
    let (_, two) = open(&dir, &files).await;
    let faults = [CatalogFault::DoneUnheard, CatalogFault::LostUnheard, CatalogFault::Late(Duration::from_millis(3))];
    let landing = |tables: Arc<Tables>, partition: u32, pointers: Option<FaultyPointers>| {
        let faults = faults.clone();
        async move {
            for n in 0..20_i64 {
                if let Some(pointers) = &pointers {
                    *pointers.faults.lock() = vec![faults[n as usize % 3].clone()];
                }
                let first = i64::from(partition) * 1000 + n * 10;
                let rows = vec![emails(first..first + 10, 3)];
                tables.append(Table::Emails, rows, at(partition, n as u64 + 1)).await.unwrap();
            }
        }
    };
    tokio::join!(landing(one.clone(), 0, Some(pointers)), landing(two, 1, None));
    let (_, other) = open(&dir, &files).await;
    let wanted: Vec<i64> = (0..200).chain(1000..1200).collect();
    assert_eq!(all_seqs(&other.snapshot(Table::Emails)).await, wanted);
    assert_eq!(other.positions(Table::Emails), Positions::from([(0, 20), (1, 20)]));
}

#[tokio::test]
async fn a_reader_whose_metadata_is_gone_reads_the_newer() {
    let (dir, files) = (tempfile::tempdir().unwrap(), in_memory());
    let (pointers, reader) = open(&dir, &files).await;
    let (_, writer) = open(&dir, &files).await;
    writer.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let gone = writer.slot(Table::Emails).state().metadata_location.clone();
    for n in 11..=115 {
        writer.append(Table::Emails, vec![], at(0, n)).await.unwrap();
    }
    writer.backend.io.new_input(&gone).unwrap().read().await.unwrap_err();
    pointers.faults.lock().push(CatalogFault::Stale(gone));
    reader.refresh(Table::Emails).await.unwrap();
    assert!(pointers.faults.lock().is_empty());
    assert_eq!(reader.snapshot(Table::Emails).positions(), &at(0, 115));
    assert_eq!(all_seqs(&reader.snapshot(Table::Emails)).await, (0..10).collect::<Vec<_>>());
}
