//! Whether a node can do what it is there for; `/healthz` asks.

use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::Topic;
use millrace_storage::{BlobError, BodyRef};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Node, Role};

/// How old a verdict may be.
const INTERVAL: Duration = Duration::from_millis(500);

/// The same where services have to be asked.
const CLUSTER_INTERVAL: Duration = Duration::from_secs(2);

/// How long the log may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A name that no pack has.
const NO_PACK: &str = "1970-01-01/00000000000000000000000000.pack";

/// The verdict, formed again and again.
pub struct Health(Mutex<Result<(), String>>);

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(Err("the node is starting".to_owned())))
    }
}

impl Health {
    /// Whether all parts work, or what does not.
    pub fn verdict(&self) -> Result<(), String> {
        self.0.lock().clone()
    }

    /// Looks until `shutdown`.
    ///
    /// # Errors
    /// When the log cannot say where it ends.
    pub async fn watch(self: Arc<Self>, node: Arc<Node>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let starts = node.ends(Topic::MailboxChanges).await?;
        loop {
            let verdict = node.check(&starts).await;
            let before = std::mem::replace(&mut *self.0.lock(), verdict.clone());
            match verdict {
                Ok(()) if before.is_err() => info!("ready"),
                // Neither at a start, where it is a matter of moments, nor each time that the reason is worded anew.
                Err(why) if before.is_ok() => warn!(why, "not ready"),
                _ => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(if node.is_in_cluster() { CLUSTER_INTERVAL } else { INTERVAL }) => {}
            }
        }
    }
}

impl Node {
    /// Whether all parts work, or what does not. `starts` are the ends of `mailbox.changes` when the node was started:
    /// before the lander is there, mail is missing that was shown before.
    async fn check(&self, starts: &[u64]) -> Result<(), String> {
        self.require(&[Role::Lander]).map_err(|error| error.to_string())?;
        for part in [&self.lander, &self.indexer] {
            if part.has_ended().await {
                let name = part.name();
                return Err(format!(
                    "{name} has ended and does not start by itself; see the log, and start the node again"
                ));
            }
        }
        self.check_hot(starts).await?;
        self.watched.verdict()?;
        self.check_services().await
    }

    /// Whether all mail that was shown before is shown again. Only those that land or show mail depend on it.
    async fn check_hot(&self, starts: &[u64]) -> Result<(), String> {
        if self.is_in_cluster() && !self.runs(Role::Api) && !self.runs(Role::Lander) {
            return Ok(());
        }
        for (partition, start) in (0..).zip(starts) {
            let applied_to = self.storage.hot.applied_to(partition).await.map_err(|error| error.to_string())?;
            match applied_to {
                Some(applied_to) if applied_to >= *start => {}
                Some(applied_to) => {
                    let left = start - applied_to;
                    return Err(format!("the lander has yet to read {left} records of partition {partition}"));
                }
                None => return Err(format!("the lander has not begun on partition {partition}")),
            }
        }
        Ok(())
    }

    /// Whether log and bodies answer.
    async fn check_services(&self) -> Result<(), String> {
        let silent = |what: &str| format!("{what} has not answered for {} s", PATIENCE.as_secs());
        if self.is_in_cluster() {
            let bounds = self.storage.log.bounds(Topic::Directory, 0);
            match tokio::time::timeout(PATIENCE, bounds).await {
                Ok(bounds) => bounds.map_err(|error| error.to_string())?,
                Err(_) => return Err(silent("the log")),
            };
            // There is no such body: a store that says so is well.
            let nowhere = BodyRef { pack: NO_PACK.to_owned(), offset: 0, length: 1 };
            match tokio::time::timeout(PATIENCE, self.storage.blobs.get(&nowhere)).await {
                Ok(Err(BlobError::Unavailable(reason))) => return Err(format!("bodies cannot be read: {reason}")),
                Ok(_) => {}
                Err(_) => return Err(silent("the store of bodies")),
            }
        }
        // No records: nothing is written, and yet it goes the way that all records go.
        match tokio::time::timeout(PATIENCE, self.storage.log.append(Vec::new())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(silent("the log")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use confique::Config as _;

    use super::*;
    use crate::config::Config;

    async fn node(roles: &[Role]) -> (Arc<Node>, tempfile::TempDir) {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::builder().load().unwrap();
        config.data_dir = data.path().to_owned();
        config.screening.dns = "off".to_owned();
        let node = Node::open(config).await.unwrap();
        node.start(roles).await.unwrap();
        (node, data)
    }

    async fn eventually_ready(node: &Node, starts: &[u64]) {
        let begun = Instant::now();
        while let Err(why) = node.check(starts).await {
            assert!(begun.elapsed() < Duration::from_secs(20), "{why}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_ready_when_its_lander_is_there_and_not_when_it_broke_down() {
        let (node, _data) = node(&[Role::Lander]).await;
        eventually_ready(&node, &node.ends(Topic::MailboxChanges).await.unwrap()).await;
        let mut ahead = node.ends(Topic::MailboxChanges).await.unwrap();
        ahead[1] += 5;
        let why = node.check(&ahead).await.unwrap_err();
        assert_eq!(why, "the lander has yet to read 5 records of partition 1");

        node.indexer.break_down().await;
        let begun = Instant::now();
        while node.check(&[]).await.is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let why = node.check(&[]).await.unwrap_err();
        assert!(why.starts_with("the indexer has ended"), "{why}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_without_a_lander_says_so() {
        let (node, _data) = node(&[]).await;
        let why = node.check(&[]).await.unwrap_err();
        assert!(why.contains("no lander") && why.contains("millrace run lander"), "{why}");
        node.stop().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_takes_nothing_is_told_with_its_reason() {
        let (node, _data) = node(&[Role::Lander]).await;
        eventually_ready(&node, &[]).await;
        node.stop().await.unwrap();
        let mut config = node.config.clone();
        drop(node);
        config.min_free_bytes = u64::MAX;
        let node = Node::open(config).await.unwrap();
        node.start(&[Role::Lander]).await.unwrap();
        let begun = Instant::now();
        let why = loop {
            match node.check(&[]).await {
                Err(why) if !why.contains("begun") => break why,
                _ => assert!(begun.elapsed() < Duration::from_secs(20), "nobody noticed"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(why.contains("the disk is full") && why.contains("kept in reserve"), "{why}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_verdict_is_kept_and_follows_what_happens() {
        let (node, _data) = node(&[Role::Lander]).await;
        let health = Arc::new(Health::default());
        assert_eq!(health.verdict(), Err("the node is starting".to_owned()));
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(health.clone().watch(node.clone(), shutdown.clone()));
        let wait_until = async |is_ready: bool| {
            let begun = Instant::now();
            while health.verdict().is_ok() != is_ready {
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", health.verdict());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        wait_until(true).await;
        node.lander.break_down().await;
        wait_until(false).await;
        shutdown.cancel();
        watching.await.unwrap().unwrap();
    }
}
