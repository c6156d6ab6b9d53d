//! What a commit leaves behind.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use iceberg::spec::{FormatVersion, ManifestList};

use super::{Place, all_seqs, at, suite};
use crate::tables::commit::Append;
use crate::tables::testing::{emails, states};
use crate::tables::{Positions, Table, TableError, write};

suite! {
    rows_and_positions_are_there_after_a_restart,
    a_snapshot_does_not_change_while_others_commit,
    a_crash_before_the_swap_leaves_the_table_as_it_was,
    positions_move_without_rows_and_are_carried_forward,
    totals_add_up,
    manifests_hold_no_subjects_and_no_addresses,
    rows_that_do_not_fit_are_refused,
    old_metadata_files_do_not_pile_up,
}

async fn rows_and_positions_are_there_after_a_restart(place: Place) {
    let tables = place.open().await;
    assert_eq!(tables.positions(Table::Emails), Positions::new());
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, Vec::<i64>::new());
    tables.append(Table::Emails, vec![emails(0..50, 7), emails(50..100, 7)], at(0, 100)).await.unwrap();
    tables.append(Table::Emails, vec![emails(100..120, 7)], at(1, 20)).await.unwrap();
    let (before, rows) = (tables.positions(Table::Emails), all_seqs(&tables.snapshot(Table::Emails)).await);
    drop(tables);
    let tables = place.open().await;
    assert_eq!(before, Positions::from([(0, 100), (1, 20)]));
    assert_eq!(tables.positions(Table::Emails), before);
    assert_eq!(tables.snapshot(Table::Emails).positions(), &before);
    assert_eq!(rows, (0..120).collect::<Vec<_>>());
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, rows);
    assert_eq!(tables.snapshot(Table::Emails).rows(), 120);
}

async fn a_snapshot_does_not_change_while_others_commit(place: Place) {
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let snapshot = tables.snapshot(Table::Emails);
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(all_seqs(&snapshot).await.len(), 10);
    assert_eq!(snapshot.positions(), &at(0, 10));
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await.len(), 20);
}

async fn a_crash_before_the_swap_leaves_the_table_as_it_was(place: Place) {
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let slot_state = tables.slot(Table::Emails).state();
    let io = &tables.backend.io;
    let files = write::write(Table::Emails, &slot_state.metadata, io, vec![emails(10..20, 3)]).await.unwrap();
    let append = Append::prepare(&slot_state, io, files, at(0, 20)).await.unwrap();
    append.onto(&slot_state, &tables.backend.files, io, 0).await.unwrap();
    // Everything is on disk, and the process ends here.
    drop(tables);
    let tables = place.open().await;
    assert_eq!(tables.positions(Table::Emails), at(0, 10));
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..10).collect::<Vec<_>>());
    tables.append(Table::Emails, vec![emails(10..20, 3)], at(0, 20)).await.unwrap();
    assert_eq!(all_seqs(&tables.snapshot(Table::Emails)).await, (0..20).collect::<Vec<_>>());
}

async fn positions_move_without_rows_and_are_carried_forward(place: Place) {
    let tables = place.open().await;
    tables.append(Table::Emails, vec![], at(2, 7)).await.unwrap();
    tables.append(Table::Emails, vec![emails(0..10, 3)], at(0, 10)).await.unwrap();
    let state = tables.slot(Table::Emails).state();
    for (snapshot, positions) in state.metadata.current_snapshot().into_iter().zip([r#"{"0":10,"2":7}"#]) {
        let summary = &snapshot.summary().additional_properties;
        assert_eq!(summary["millrace.positions"], format!(r#"{{"mailbox.changes":{positions}}}"#));
    }
}

async fn totals_add_up(place: Place) {
    let tables = place.open().await;
    for n in 0..3_i64 {
        tables.append(Table::Emails, vec![emails(n * 10..n * 10 + 10, 5)], at(0, n as u64 + 1)).await.unwrap();
    }
    let state = tables.slot(Table::Emails).state();
    let summary = &state.metadata.current_snapshot().unwrap().summary().additional_properties;
    let files = state.files().count();
    let bytes: u64 = state.files().map(|file| file.size_bytes).sum();
    assert_eq!(summary["total-records"], "30");
    assert_eq!(summary["added-records"], "10");
    assert_eq!(summary["total-data-files"], files.to_string());
    assert_eq!(summary["total-files-size"], bytes.to_string());
    assert_eq!(summary["total-delete-files"], "0");
    let mut stored = 0;
    for file in state.files() {
        stored += place.size(&file.path).await;
    }
    assert_eq!(bytes, stored);
}

/// What people wrote must not be in manifests, which outlive rows and are read by everyone.
async fn manifests_hold_no_subjects_and_no_addresses(place: Place) {
    let tables = place.open().await;
    tables.append(Table::Emails, vec![emails(0..100, 5)], at(0, 1)).await.unwrap();
    let state = tables.slot(Table::Emails).state();
    let io = &tables.backend.io;
    let list = io.new_input(state.metadata.current_snapshot().unwrap().manifest_list()).unwrap().read().await.unwrap();
    let list = ManifestList::parse_with_version(&list, FormatVersion::V2).unwrap();
    let mut bounded = BTreeSet::new();
    for manifest in list.entries() {
        let text = io.new_input(&manifest.manifest_path).unwrap().read().await.unwrap();
        for secret in ["subject-secret", "person", "@millrace.test", "example.org"] {
            assert!(!text.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        for entry in manifest.load_manifest(io).await.unwrap().entries() {
            bounded.extend(entry.data_file().lower_bounds().keys().copied());
        }
    }
    let schema = state.metadata.current_schema();
    let names: BTreeSet<&str> = bounded.into_iter().map(|id| schema.name_by_field_id(id).unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["account_id", "email_id", "received_at", "seq"]));
}

async fn rows_that_do_not_fit_are_refused(place: Place) {
    let tables = place.open().await;
    let states = states(&[("acc1", 1, 1, false, false, false)]);
    let error = tables.append(Table::Emails, vec![states], at(0, 1)).await.unwrap_err();
    assert!(matches!(error, TableError::NoColumn { .. }), "{error}");
    assert_eq!(tables.positions(Table::Emails), Positions::new());
}

async fn old_metadata_files_do_not_pile_up(place: Place) {
    let tables = place.open().await;
    for n in 1..=110 {
        tables.append(Table::Emails, vec![], at(0, n)).await.unwrap();
    }
    let location = format!("{}/metadata", tables.slot(Table::Emails).state().metadata.location());
    let names = place.list(&location).await;
    assert_eq!(names.iter().filter(|name| name.ends_with(".metadata.json")).count(), 101);
    drop(tables);
    assert_eq!(place.open().await.positions(Table::Emails), at(0, 110));
}
