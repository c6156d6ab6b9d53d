//! Several processes over one object store.
#![allow(clippy::unwrap_used)]

mod damage;
mod faults;
mod fencing;
mod moving;
mod s3;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_schemas::Topic;
use object_store::ObjectStore;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::faults::Faults;
use super::owned::Owned;
use super::restore::restore;
use super::{Shards, SharedOptions};
use crate::mail::search::facade::Form;
use crate::mail::search::indexer::{Indexer, Inputs};
use crate::mail::search::{Search, SearchError, TextQuery};
use crate::mail::testing::World;

/// A log, tables and an object store, over which processes search and index.
struct Cluster {
    world: World,
    faults: Arc<Faults>,
}

impl Cluster {
    async fn open() -> Self {
        Self { world: World::open().await, faults: Faults::over(Arc::new(object_store::memory::InMemory::new())) }
    }

    fn partitions(&self) -> u32 {
        self.world.log.partitions(Topic::MailboxChanges)
    }

    fn inputs(&self) -> Inputs {
        let World { log, blobs, tables, .. } = &self.world;
        Inputs { log: log.clone(), blobs: blobs.clone(), tables: tables.clone() }
    }

    async fn process(&self) -> Process {
        Process::open(self.faults.clone(), self.partitions(), options()).await
    }

    /// A process that indexes.
    async fn indexing(&self) -> Process {
        let mut process = self.process().await;
        process.start(&self.inputs());
        process
    }

    async fn deliver(&self, account_id: &str, email_id: &str, word: &str) {
        self.world.deliver(account_id, email_id, &mail(word)).await;
    }
}

fn options() -> SharedOptions {
    SharedOptions { grace: Duration::from_millis(500), ..SharedOptions::default() }
}

fn mail(word: &str) -> String {
    format!(
        "From: kim@example.org\r\nTo: ann@millrace.test\r\nSubject: {word}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nsame words in all {word}\r\n"
    )
}

/// A process with a disk of its own.
struct Process {
    search: Arc<Search>,
    dir: Arc<TempDir>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), SearchError>>>,
}

impl Process {
    async fn open(store: Arc<dyn ObjectStore>, partitions: u32, options: SharedOptions) -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), store, partitions, options).await
    }

    async fn on(dir: Arc<TempDir>, store: Arc<dyn ObjectStore>, partitions: u32, options: SharedOptions) -> Self {
        // Tasks of the one that had the folder before may take a moment to end.
        let deadline = Instant::now() + Duration::from_secs(20);
        let search = loop {
            match Search::open_shared(dir.path(), store.clone(), "test", partitions, options).await {
                Err(SearchError::Folder(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => break opened.unwrap(),
            }
        };
        Self { search, dir, shutdown: CancellationToken::new(), task: None }
    }

    fn start(&mut self, inputs: &Inputs) {
        let Inputs { log, blobs, tables } = inputs.clone();
        let indexer = Indexer::new(self.search.clone(), log, blobs, tables);
        self.task = Some(tokio::spawn(indexer.run(self.shutdown.clone())));
    }

    /// As after a SIGTERM.
    async fn stop(mut self) -> Arc<TempDir> {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap().unwrap();
        }
        self.dir.clone()
    }

    /// As after a kill, wherever it hits; what is on its disk stays.
    async fn kill(mut self) -> Arc<TempDir> {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        self.dir.clone()
    }

    fn shards(&self) -> &Arc<Shards> {
        match &self.search.form {
            Form::Shared(shards) => shards,
            Form::Local(_) => panic!("not shared"),
        }
    }

    /// Partitions whose owner this process is.
    fn owned(&self) -> Vec<u32> {
        self.shards().owned().into_keys().collect()
    }

    async fn find(&self, account_id: &str, text: &str) -> Result<Vec<String>, SearchError> {
        let query = TextQuery { text: Some(text.into()), ..TextQuery::default() };
        let mut found = self.search.search(account_id, &query).await?;
        found.sort();
        Ok(found)
    }

    /// Waits until a search finds so many emails; tells how long that took.
    async fn finds(&self, account_id: &str, text: &str, emails: usize) -> Duration {
        let begun = Instant::now();
        loop {
            let found = self.find(account_id, text).await;
            if found.as_ref().is_ok_and(|found| found.len() == emails) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{text} of {account_id}: {found:?}, not {emails}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Waits for something.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes a shard over without an indexer.
async fn take_over(cluster: &Cluster, process: &Process, partition: u32) -> Result<Owned, SearchError> {
    restore(process.shards().clone(), partition, cluster.inputs()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_index_finds_new_mail_within_a_second() {
    let cluster = Cluster::open().await;
    let indexing = cluster.indexing().await;
    let reading = cluster.process().await;
    until("all shards are owned", || indexing.owned().len() == cluster.partitions() as usize).await;
    cluster.deliver("ann", "first", "zebra").await;
    reading.finds("ann", "zebra", 1).await;
    let mut longest = Duration::ZERO;
    for n in 0..20 {
        cluster.deliver(&format!("user{n}"), &format!("e{n}"), &format!("word{n}")).await;
        longest = longest.max(reading.finds(&format!("user{n}"), &format!("word{n}"), 1).await);
    }
    eprintln!("found after at most {longest:?}");
    assert!(longest < Duration::from_secs(5));
    assert!(reading.find("bob", "zebra").await.unwrap().is_empty());
    assert_eq!(indexing.find("ann", "zebra").await.unwrap(), ["first"]);
    indexing.stop().await;
    assert_eq!(reading.find("ann", "zebra").await.unwrap(), ["first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn destroyed_mail_goes_and_merged_segments_leave_the_store() {
    let cluster = Cluster::open().await;
    let (indexing, reading) = (cluster.indexing().await, cluster.process().await);
    for n in 0..30 {
        cluster.deliver("ann", &format!("e{n}"), &format!("number{n}")).await;
        reading.finds("ann", &format!("number{n}"), 1).await;
    }
    let gone = r#"{"is_destroyed":true}"#;
    cluster.world.append(vec![crate::mail::testing::patch("ann", "e3", gone)]).await;
    reading.finds("ann", "number3", 0).await;
    assert_eq!(reading.find("ann", "same").await.unwrap().len(), 29);
    let partition = millrace_schemas::topic::partition_of("ann", cluster.partitions());
    let objects = cluster.faults.objects(partition).await;
    assert!(objects.len() < 30, "{objects:?}");
    // What nobody names any more goes with a publication after the grace.
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.deliver("ann", "last", "last").await;
    reading.finds("ann", "last", 1).await;
    let store = &indexing.shards().shard(partition).unwrap().store;
    let named = store.manifest().await.unwrap().unwrap().manifest.objects.len();
    let begun = Instant::now();
    while cluster.faults.objects(partition).await.len() > named + 3 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The disk follows.
    let local = |process: &Process| {
        let folder = process.dir.path().join(partition.to_string()).join("objects");
        std::fs::read_dir(folder).unwrap().count()
    };
    assert!(local(&indexing) <= named + 3 && local(&reading) <= named + 3);
    indexing.stop().await;
}
