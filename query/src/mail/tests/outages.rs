//! A hot store that goes away between the moment a change is recorded and the moment its writer sees it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_schemas::MailboxPatch;
use millrace_storage::hot::{Changed, HotError};
use millrace_storage::{HotRow, HotStore, HotTail};
use tokio::sync::broadcast;

use crate::mail::testing::{World, delivery};
use crate::mail::{ChangeError, Mailboxes, MailboxesOptions};

/// Answers readers no more from when it is asked how much is applied, as a change asks that has been recorded.
struct LeavingHot {
    hot: Arc<dyn HotStore>,
    is_gone: AtomicBool,
    /// What was applied before the change; it stays while this is [`NEVER`].
    leaves_after: AtomicU64,
    /// Whether it still says that the change is applied.
    is_answered: bool,
}

const NEVER: u64 = u64::MAX;

impl LeavingHot {
    fn check(&self) -> Result<(), HotError> {
        match self.is_gone.load(Ordering::SeqCst) {
            true => Err(HotError::Unavailable("a test has stopped it".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl HotStore for LeavingHot {
    async fn reset(&self, partition: u32, from: u64, end: u64) -> Result<(), HotError> {
        self.hot.reset(partition, from, end).await
    }

    async fn take_over(&self, partition: u32, from: u64, end: u64) -> Result<Option<u64>, HotError> {
        self.hot.take_over(partition, from, end).await
    }

    async fn apply(&self, partition: u32, rows: Vec<HotRow>, next_offset: u64) -> Result<(), HotError> {
        self.hot.apply(partition, rows, next_offset).await
    }

    async fn applied_to(&self, partition: u32) -> Result<Option<u64>, HotError> {
        let leaves_after = self.leaves_after.load(Ordering::SeqCst);
        if leaves_after != NEVER && !self.is_answered {
            self.is_gone.store(true, Ordering::SeqCst);
        }
        self.check()?;
        let applied_to = self.hot.applied_to(partition).await?;
        if applied_to > Some(leaves_after) {
            self.is_gone.store(true, Ordering::SeqCst);
        }
        Ok(applied_to)
    }

    async fn release(&self, partition: u32, offset: u64) -> Result<(), HotError> {
        self.hot.release(partition, offset).await
    }

    async fn tail(&self, partition: u32, account_id: &str, from: u64) -> Result<HotTail, HotError> {
        self.check()?;
        self.hot.tail(partition, account_id, from).await
    }

    async fn newest(&self, partition: u32, account_id: &str, email_id: &str) -> Result<Option<HotRow>, HotError> {
        self.check()?;
        self.hot.newest(partition, account_id, email_id).await
    }

    async fn rows(&self, partition: u32, from: u64) -> Result<HotTail, HotError> {
        self.check()?;
        self.hot.rows(partition, from).await
    }

    fn watch(&self) -> broadcast::Receiver<Changed> {
        self.hot.watch()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_recorded_is_not_said_to_be_none_when_the_hot_store_goes() {
    let mut world = World::open().await;
    world.start(World::quick());
    let positions = world.append(vec![delivery("ann", "e")]).await;
    world.settle(&positions).await;
    for (n, is_answered) in [false, true].into_iter().enumerate() {
        let (is_gone, leaves_after) = (AtomicBool::new(false), AtomicU64::new(NEVER));
        let hot = Arc::new(LeavingHot { hot: world.hot.clone(), is_gone, leaves_after, is_answered });
        let options = MailboxesOptions { change_patience: Duration::from_secs(20), ..MailboxesOptions::default() };
        let (log, tables, search) = (world.log.clone(), world.tables.clone(), world.search.clone());
        let mailboxes = Mailboxes::new(log, hot.clone(), tables, search, options);
        let state = mailboxes.view("ann").await.unwrap().state;
        let applied_to = world.hot.applied_to(positions[0].partition).await.unwrap().unwrap();
        hot.leaves_after.store(applied_to, Ordering::SeqCst);
        let keyword = format!("k{n}");
        let patch = MailboxPatch { keywords: [(keyword.clone(), true)].into(), ..MailboxPatch::default() };
        let outcome = mailboxes.change("ann", Some(state), vec![("e".to_owned(), patch)]).await;
        assert!(matches!(outcome, Err(ChangeError::NotYetVisible)), "{outcome:?}");

        let view = loop {
            let view = world.mailboxes.view("ann").await.unwrap();
            if view.state > state {
                break view;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(view.get("e").unwrap().keywords.iter().any(|found| **found == *keyword), "it was made");
    }
    world.stop().await;
}
