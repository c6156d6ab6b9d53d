//! The directory on the real embedded log.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use millrace_directory::{Directory, DirectoryError, Resolution};
use millrace_schemas::Topic;
use millrace_storage::embedded::{EmbeddedStorage, StorageOptions};
use millrace_storage::testing::{HinderedLog, Hindrance};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

async fn open(dir: &std::path::Path) -> Arc<Directory> {
    let storage = EmbeddedStorage::open(dir, StorageOptions::default()).unwrap();
    Directory::open(storage.log).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    {
        let directory = open(dir.path()).await;
        directory.add_domain("X.org").await.unwrap();
        directory.add_account("Alice@x.org", Some("secret"), Some(1000)).await.unwrap();
        directory.add_account("bob@x.org", None, None).await.unwrap();
        directory.add_alias("team@x.org", &["alice@x.org".into(), "bob@x.org".into()]).await.unwrap();
        directory.remove_account("bob@x.org").await.unwrap();
    }
    let directory = open(dir.path()).await;
    assert_eq!(directory.domains(), ["x.org"]);
    let alice = directory.authenticate("ALICE@x.org", "secret").await.unwrap();
    assert_eq!(alice.quota_bytes, Some(1000));
    assert_eq!(directory.resolve("team@X.ORG"), Resolution::Accounts(vec![alice]));
    assert!(directory.authenticate("alice@x.org", "Secret").await.is_none());
    assert!(directory.authenticate("bob@x.org", "").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_added_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).await;
    let error = directory.add_account("a@x.org", None, None).await.unwrap_err();
    assert!(matches!(error, DirectoryError::UnknownDomain(_)));
    directory.add_domain("x.org").await.unwrap();
    directory.add_account("a@x.org", None, None).await.unwrap();
    for (address, target) in
        [("a@x.org", "a@x.org"), ("b@x.org", "nobody@x.org"), ("b@y.org", "a@x.org"), ("b", "a@x.org")]
    {
        assert!(directory.add_alias(address, &[target.to_owned()]).await.is_err(), "{address} -> {target}");
    }
    assert!(matches!(directory.add_account("A@x.org", None, None).await, Err(DirectoryError::Exists(_))));
    assert!(matches!(directory.remove_domain("x.org").await, Err(DirectoryError::InUse { accounts: 1, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_want_one_address_do_not_both_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path()).await;
    directory.add_domain("x.org").await.unwrap();
    let adds = (0..8).map(|_| directory.add_account("a@x.org", None, None));
    let added = futures::future::join_all(adds).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(added, 1);
}

/// The views of two processes of one log.
async fn two_processes() -> (TempDir, EmbeddedStorage, [Arc<Directory>; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let storage = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
    let open = || async { Directory::open(storage.log.clone()).await.unwrap() };
    let both = [open().await, open().await];
    (dir, storage, both)
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_two_processes() {
    let (_dir, storage, [one, other]) = two_processes().await;
    one.add_domain("x.org").await.unwrap();
    for n in 0..50 {
        let address = format!("a{n}@x.org");
        let (mine, theirs) =
            tokio::join!(one.add_account(&address, None, None), other.add_account(&address, None, None));
        let (winner, loser) = match mine {
            Ok(winner) => (winner, theirs),
            loser => (theirs.unwrap(), loser),
        };
        assert!(matches!(loser, Err(DirectoryError::Exists(_))), "{loser:?}");
        let anew = Directory::open(storage.log.clone()).await.unwrap();
        assert_eq!(anew.account_of(&address).unwrap().id, winner.id, "all processes find the same");
    }
    assert_eq!(Directory::open(storage.log).await.unwrap().accounts().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_account_and_an_alias_or_the_end_of_the_domain_in_two_processes_none_is_left_dead() {
    let (_dir, storage, [one, other]) = two_processes().await;
    one.add_domain("x.org").await.unwrap();
    one.add_account("target@x.org", None, None).await.unwrap();
    for n in 0..50 {
        let (address, domain) = (format!("a{n}@x.org"), format!("y{n}.org"));
        let targets = ["target@x.org".to_owned()];
        let (account, alias) = tokio::join!(one.add_account(&address, None, None), other.add_alias(&address, &targets));
        assert!(account.is_err() || alias.is_err());
        one.add_domain(&domain).await.unwrap();
        let inside = format!("a@{domain}");
        let (inner, removed) = tokio::join!(one.add_account(&inside, None, None), other.remove_domain(&domain));
        let anew = Directory::open(storage.log.clone()).await.unwrap();
        assert_eq!(anew.account_of(&address).is_ok(), account.is_ok());
        assert_eq!(anew.aliases().iter().any(|(found, _)| *found == address), alias.is_ok());
        assert_eq!(anew.account_of(&inside).is_ok(), inner.is_ok());
        assert!(inner.is_err() || removed.is_err());
        assert!(inner.is_err() || anew.domains().contains(&domain), "who was told of an account gets its mail");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_seen_is_said_to_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let storage = EmbeddedStorage::open(dir.path(), StorageOptions::default()).unwrap();
    let log = Arc::new(HinderedLog::new(storage.log, Topic::Directory));
    let directory = Directory::open(log.clone()).await.unwrap();
    log.hinder(Hindrance::AfterAppend);
    let error = directory.add_domain("x.org").await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unseen(_)), "{error}");
    log.hinder(Hindrance::Never);
    directory.refresh().await.unwrap();
    assert_eq!(directory.domains(), ["x.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_what_another_writes() {
    let (_dir, _storage, [writer, reader]) = two_processes().await;
    let shutdown = CancellationToken::new();
    let following = tokio::spawn({
        let (reader, shutdown) = (reader.clone(), shutdown.clone());
        async move { reader.follow(shutdown).await }
    });
    writer.add_domain("x.org").await.unwrap();
    let seen = async {
        while reader.domains().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), seen).await.unwrap();
    shutdown.cancel();
    following.await.unwrap();
}
