//! Several processes at one table.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::{Place, all_seqs, at, suite};
use crate::tables::testing::emails;
use crate::tables::{Positions, Table, TableError, Tables};

suite! {
    two_committers_of_different_partitions_both_land,
    records_that_another_process_landed_are_not_landed_twice,
}

async fn two_committers_of_different_partitions_both_land(place: Place) {
    let lander = |tables: Arc<Tables>, partition: u32| async move {
        for n in 0..6_i64 {
            let first = i64::from(partition) * 1000 + n * 10;
            tables
                .append(Table::Emails, vec![emails(first..first + 10, 3)], at(partition, n as u64 + 1))
                .await
                .unwrap();
        }
    };
    let (one, two) = (place.open().await, place.open().await);
    tokio::join!(lander(one.clone(), 0), lander(two.clone(), 1));
    one.refresh(Table::Emails).await.unwrap();
    let wanted: Vec<i64> = (0..60).chain(1000..1060).collect();
    assert_eq!(all_seqs(&one.snapshot(Table::Emails)).await, wanted);
    let tables = place.open().await;
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, wanted);
    assert_eq!(tables.positions(Table::Emails), Positions::from([(0, 6), (1, 6)]));
}

async fn records_that_another_process_landed_are_not_landed_twice(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
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
