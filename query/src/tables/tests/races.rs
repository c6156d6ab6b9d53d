//! Several processes at one table.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Place, all_seqs, at, suite};
use crate::tables::testing::emails;
use crate::tables::{Positions, Table, TableError, Tables};

suite! {
    two_committers_of_different_partitions_both_land,
    records_that_another_process_landed_are_not_landed_twice,
    many_commits_at_the_same_time_lose_nothing,
    a_partition_that_two_claim_goes_to_one,
    a_partition_that_moves_goes_on_where_the_other_ended,
    a_follower_sees_what_others_commit,
    a_snapshot_is_looked_for_when_it_does_not_reach,
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

async fn many_commits_at_the_same_time_lose_nothing(place: Place) {
    let lander = |tables: Arc<Tables>, partition: u32| async move {
        for n in 0..100_i64 {
            let first = i64::from(partition) * 1000 + n;
            let rows = vec![emails(first..first + 1, 1)];
            tables.append(Table::Emails, rows, at(partition, n as u64 + 1)).await.unwrap();
        }
    };
    let (one, two) = (place.open().await, place.open().await);
    let landings = [tokio::spawn(lander(one.clone(), 0)), tokio::spawn(lander(two, 1))];
    let mut seen = Positions::new();
    while landings.iter().any(|landing| !landing.is_finished()) {
        one.refresh(Table::Emails).await.unwrap();
        let snapshot = one.snapshot(Table::Emails);
        let positions = snapshot.positions();
        assert!(seen.iter().all(|(partition, at)| positions[partition] >= *at), "{seen:?} {positions:?}");
        assert_eq!(snapshot.rows(), positions.values().sum::<u64>());
        seen = positions.clone();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for landing in landings {
        landing.await.unwrap();
    }
    let tables = place.open().await;
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..100).chain(1000..1100).collect::<Vec<_>>());
    assert_eq!(tables.positions(Table::Emails), Positions::from([(0, 100), (1, 100)]));
}

async fn a_partition_that_two_claim_goes_to_one(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    for n in 0..5_i64 {
        let (first, next) = (n * 10, at(0, n as u64 * 10 + 10));
        for tables in [&one, &two] {
            tables.resume(Table::Emails).await.unwrap();
        }
        let claim = |tables: Arc<Tables>, next| async move {
            tables.append(Table::Emails, vec![emails(first..first + 10, 3)], next).await
        };
        let (a, b) = tokio::join!(claim(one.clone(), next.clone()), claim(two.clone(), next));
        let lost = if a.is_ok() { b } else { a };
        assert!(matches!(lost.unwrap_err(), TableError::Superseded { partition: 0, .. }));
    }
    let tables = place.open().await;
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..50).collect::<Vec<_>>());
}

async fn a_partition_that_moves_goes_on_where_the_other_ended(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    one.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    assert_eq!(two.positions(Table::Emails), Positions::new());
    assert_eq!(two.resume(Table::Emails).await.unwrap(), at(0, 10));
    assert_eq!(two.positions(Table::Emails), at(0, 10));
    two.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    // Rows that were made from where the first stood are refused, whatever it has seen meanwhile.
    one.refresh(Table::Emails).await.unwrap();
    assert_eq!(one.snapshot(Table::Emails).positions(), &at(0, 20));
    assert_eq!(one.positions(Table::Emails), at(0, 10));
    let error = one.append(Table::Emails, vec![emails(10..30, 3)], at(0, 30)).await.unwrap_err();
    assert!(matches!(error, TableError::Superseded { expected: 10, found: 20, .. }), "{error}");
    assert_eq!(one.positions(Table::Emails), at(0, 20));
    assert_eq!(all_seqs(&place.open().await.snapshot(Table::Emails)).await, (0..20).collect::<Vec<_>>());
}

async fn a_follower_sees_what_others_commit(place: Place) {
    let (writer, reader) = (place.open().await, place.open().await);
    let shutdown = CancellationToken::new();
    let (followed, until) = (reader.clone(), shutdown.clone());
    let follower = tokio::spawn(async move { followed.follow(until).await });
    for n in 1..=2_i64 {
        writer.append(Table::Emails, vec![emails(n * 10..n * 10 + 10, 3)], at(0, n as u64)).await.unwrap();
        let begun = Instant::now();
        while reader.snapshot(Table::Emails).rows() < n as u64 * 10 {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(reader.snapshot(Table::Emails).positions(), &at(0, n as u64));
    }
    shutdown.cancel();
    follower.await.unwrap();
}

async fn a_snapshot_is_looked_for_when_it_does_not_reach(place: Place) {
    let (writer, reader) = (place.open().await, place.open().await);
    writer.append(Table::Emails, vec![emails(0..10, 3)], at(3, 10)).await.unwrap();
    assert_eq!(reader.snapshot(Table::Emails).rows(), 0);
    assert_eq!(reader.snapshot_reaching(Table::Emails, 3, 0).await.unwrap().rows(), 0);
    assert_eq!(reader.snapshot_reaching(Table::Emails, 3, 10).await.unwrap().rows(), 10);
    assert_eq!(reader.snapshot(Table::Emails).rows(), 10);
}
