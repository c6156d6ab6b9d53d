//! [`HotStore`].

use std::sync::Arc;

use bytes::Bytes;

use super::{PATIENCE, Place};
use crate::hot::{Changed, HotRow, HotStore, HotTail};

/// The partition that the cases use; each begins it afresh.
const PARTITION: u32 = 2;

pub async fn all(place: &dyn Place<dyn HotStore>) {
    rows_are_held_from_where_the_tables_end(place).await;
    a_repeated_apply_changes_nothing(place).await;
    the_newest_version_of_an_email_is_found(place).await;
    accounts_do_not_see_each_other(place).await;
    a_released_row_may_go_but_never_unnoticed(place).await;
    a_reset_drops_all(place).await;
    a_reset_says_until_when_it_lacks_what_was_shown(place).await;
    a_take_over_keeps_what_is_held_around_the_end_of_the_tables(place).await;
    a_take_over_of_anything_else_changes_nothing(place).await;
    watchers_are_told(place).await;
}

fn row(account_id: &str, email_id: &str, seq: u64) -> HotRow {
    HotRow {
        account_id: Arc::from(account_id),
        email_id: Arc::from(email_id),
        seq,
        value: Bytes::from(format!("{account_id} {email_id} {seq}")),
    }
}

async fn fresh(place: &dyn Place<dyn HotStore>, from: u64) -> Arc<dyn HotStore> {
    let store = place.open().await;
    store.reset(PARTITION, from, from).await.expect("a reset");
    store
}

async fn apply(store: &dyn HotStore, rows: Vec<HotRow>, next_offset: u64) {
    store.apply(PARTITION, rows, next_offset).await.expect("an apply");
}

async fn tail(store: &dyn HotStore, account_id: &str, from: u64) -> HotTail {
    store.tail(PARTITION, account_id, from).await.expect("a tail")
}

fn seqs(tail: &HotTail) -> Vec<u64> {
    tail.rows.iter().map(|row| row.seq).collect()
}

pub async fn rows_are_held_from_where_the_tables_end(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 100).await;
    assert_eq!(store.applied_to(PARTITION).await.expect("an offset"), Some(100));
    assert_eq!(
        tail(&*store, "a", 0).await,
        HotTail { held_from: 100, applied_to: 100, complete_at: 100, rows: vec![] }
    );
    apply(&*store, vec![row("a", "e1", 101), row("a", "e2", 104)], 110).await;
    let rows = vec![row("a", "e1", 101), row("a", "e2", 104)];
    assert_eq!(tail(&*store, "a", 0).await, HotTail { held_from: 100, applied_to: 110, complete_at: 100, rows });
    assert_eq!(seqs(&tail(&*store, "a", 102).await), [104]);
    assert!(seqs(&tail(&*store, "a", 105).await).is_empty());
}

pub async fn a_repeated_apply_changes_nothing(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    for _ in 0..2 {
        apply(&*store, vec![row("a", "e1", 0), row("a", "e1", 1)], 2).await;
    }
    apply(&*store, vec![row("a", "e1", 1), row("a", "e2", 2)], 3).await;
    assert_eq!(seqs(&tail(&*store, "a", 0).await), [0, 1, 2]);
    assert_eq!(store.applied_to(PARTITION).await.expect("an offset"), Some(3));
    apply(&*store, vec![], 1).await;
    assert_eq!(store.applied_to(PARTITION).await.expect("an offset"), Some(3), "it never goes back");
}

pub async fn the_newest_version_of_an_email_is_found(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    apply(&*store, vec![row("a", "e1", 0), row("a", "e2", 1), row("a", "e1", 5)], 6).await;
    let newest = |account: &'static str, email: &'static str| store.newest(PARTITION, account, email);
    assert_eq!(newest("a", "e1").await.expect("a row"), Some(row("a", "e1", 5)));
    assert_eq!(newest("a", "e2").await.expect("a row"), Some(row("a", "e2", 1)));
    assert_eq!(newest("a", "e3").await.expect("a row"), None);
    assert_eq!(newest("b", "e1").await.expect("a row"), None);
}

pub async fn accounts_do_not_see_each_other(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    apply(&*store, vec![row("a", "e1", 0), row("b", "e2", 1), row("a", "e3", 2)], 3).await;
    assert_eq!(seqs(&tail(&*store, "a", 0).await), [0, 2]);
    assert_eq!(seqs(&tail(&*store, "b", 0).await), [1]);
    let all = store.rows(PARTITION, 1).await.expect("rows");
    assert_eq!(seqs(&all), [1, 2], "the rows of all accounts, in order");
}

pub async fn a_released_row_may_go_but_never_unnoticed(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    apply(&*store, (0..50).map(|seq| row("a", &format!("e{seq}"), seq)).collect(), 50).await;
    store.release(PARTITION, 40).await.expect("a release");
    let after = tail(&*store, "a", 0).await;
    assert!(after.held_from <= 40, "what is not released stays");
    let held: Vec<u64> = seqs(&after).into_iter().filter(|seq| *seq >= after.held_from).collect();
    assert_eq!(held, (after.held_from..50).collect::<Vec<u64>>(), "all from held_from on is there");
    assert_eq!(after.applied_to, 50);
    for seq in 40..50 {
        let newest = store.newest(PARTITION, "a", &format!("e{seq}")).await.expect("a row");
        assert_eq!(newest.map(|row| row.seq), Some(seq));
    }
}

pub async fn a_reset_drops_all(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    apply(&*store, vec![row("a", "e1", 0)], 1).await;
    store.reset(PARTITION, 7, 7).await.expect("a reset");
    assert_eq!(tail(&*store, "a", 0).await, HotTail { held_from: 7, applied_to: 7, complete_at: 7, rows: vec![] });
    assert_eq!(store.newest(PARTITION, "a", "e1").await.expect("a row"), None);
}

pub async fn a_reset_says_until_when_it_lacks_what_was_shown(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    apply(&*store, vec![row("a", "e1", 0), row("a", "e2", 4)], 5).await;
    store.reset(PARTITION, 2, 6).await.expect("a reset");
    apply(&*store, vec![], 5).await;
    assert!(!tail(&*store, "a", 2).await.is_complete());
    apply(&*store, vec![row("a", "e2", 5)], 6).await;
    assert!(tail(&*store, "a", 2).await.is_complete());
    assert!(store.rows(PARTITION, 2).await.expect("rows").is_complete());
}

pub async fn a_take_over_keeps_what_is_held_around_the_end_of_the_tables(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 3).await;
    apply(&*store, vec![row("a", "e1", 3), row("a", "e2", 5)], 6).await;
    for (from, end) in [(3, 9), (5, 6), (6, 6)] {
        assert_eq!(store.take_over(PARTITION, from, end).await.expect("a take-over"), Some(6), "from {from}");
        let held = tail(&*store, "a", 0).await;
        assert!(held.is_complete(), "readers go on as before");
        assert_eq!(seqs(&held), [3, 5]);
    }
    apply(&*store, vec![row("a", "e1", 6)], 7).await;
    assert_eq!(seqs(&tail(&*store, "a", 0).await), [3, 5, 6]);
}

pub async fn a_take_over_of_anything_else_changes_nothing(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 3).await;
    apply(&*store, vec![row("a", "e1", 3), row("a", "e2", 5)], 6).await;
    // The tables end before what is held, or behind it.
    for from in [2, 7] {
        assert_eq!(store.take_over(PARTITION, from, 9).await.expect("a take-over"), None, "from {from}");
        assert_eq!(seqs(&tail(&*store, "a", 0).await), [3, 5]);
    }
}

pub async fn watchers_are_told(place: &dyn Place<dyn HotStore>) {
    let store = fresh(place, 0).await;
    let mut changes = store.watch();
    apply(&*store, vec![row("a", "e1", 0), row("b", "e2", 1)], 2).await;
    for expected in [("a", 0), ("b", 1)] {
        let change = loop {
            let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("in time").expect("a change");
            // Also told when the listening began in the midst of what the case before did.
            if change != Changed::missed() {
                break change;
            }
        };
        assert_eq!((&*change.account_id, change.seq), expected);
    }
}
