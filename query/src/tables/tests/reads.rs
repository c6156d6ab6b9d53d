//! What readers find.
#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::{Place, at, seqs, suite};
use crate::tables::testing::{T0, emails, states};
use crate::tables::{Table, TableError};

suite! {
    an_account_reads_its_own_rows_and_no_others,
    a_file_is_newest_first_within_an_account,
    single_emails_are_found_by_time_and_id,
    both_sides_of_a_crossing_are_in_one_snapshot,
}

async fn an_account_reads_its_own_rows_and_no_others(place: Place) {
    let tables = place.open().await;
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

async fn a_file_is_newest_first_within_an_account(place: Place) {
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..3000, 2)], at(0, 1)).await.unwrap();
    let rows = tables.snapshot(Table::Emails).read_account("acc1", &["received_at"]).await.unwrap();
    let times: Vec<i64> = rows
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec())
        .collect();
    assert_eq!(times.len(), 1500);
    assert!(times.is_sorted_by(|a, b| a > b));
}

async fn single_emails_are_found_by_time_and_id(place: Place) {
    let tables = place.open().await;
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

async fn both_sides_of_a_crossing_are_in_one_snapshot(place: Place) {
    let tables = place.open().await;
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
