//! A log that refuses for a while.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use async_trait::async_trait;
use millrace_storage::{NewRecord, Position};

use super::*;
use crate::mail::testing::{World, delivery, patch};
use crate::mail::{Mailboxes, MailboxesOptions};
use crate::tables::testing::open_leaving;

#[derive(Default)]
struct Fault {
    commit: AtomicBool,
    poll: AtomicBool,
    /// Commits and polls that were refused.
    refused: AtomicUsize,
    subscribed: AtomicUsize,
    /// One more than the partition that has gone to another; 0 for none.
    gone: AtomicU32,
}

impl Fault {
    fn check(&self, switch: &AtomicBool) -> Result<(), LogError> {
        if !switch.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(LogError::Unavailable("the disk of a test is full".to_owned()))
    }
}

struct FaultyLog(Arc<dyn Log>, Arc<Fault>);

#[async_trait]
impl Log for FaultyLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.0.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        self.0.append(records).await
    }

    async fn read(&self, topic: Topic, n: u32, at: u64, records: usize, bytes: usize) -> Result<Vec<Record>, LogError> {
        self.0.read(topic, n, at, records, bytes).await
    }

    async fn bounds(&self, topic: Topic, partition: u32) -> Result<(u64, u64), LogError> {
        self.0.bounds(topic, partition).await
    }

    async fn wait(&self, topic: Topic, partition: u32, offset: u64, timeout: Duration) -> Result<bool, LogError> {
        self.0.wait(topic, partition, offset, timeout).await
    }

    async fn subscribe(&self, group: &str, topic: Topic) -> Result<Box<dyn Consumer>, LogError> {
        self.1.subscribed.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FaultyConsumer(self.0.subscribe(group, topic).await?, self.1.clone())))
    }

    async fn committed(&self, group: &str, topic: Topic, partition: u32) -> Result<Option<u64>, LogError> {
        self.0.committed(group, topic, partition).await
    }

    async fn enforce_retention(&self) -> Result<u64, LogError> {
        self.0.enforce_retention().await
    }
}

struct FaultyConsumer(Box<dyn Consumer>, Arc<Fault>);

#[async_trait]
impl Consumer for FaultyConsumer {
    fn assignment(&self) -> Vec<u32> {
        let gone = self.1.gone.load(Ordering::SeqCst);
        self.0.assignment().into_iter().filter(|partition| partition + 1 != gone).collect()
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.0.seek(partition, offset).await
    }

    async fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Vec<Record>, LogError> {
        self.1.check(&self.1.poll)?;
        self.0.poll(max_records, timeout).await
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
        if let Err(refusal) = self.1.check(&self.1.commit) {
            // What was polled is forgotten.
            self.0.rewind().await?;
            return Err(refusal);
        }
        self.0.commit(outputs).await
    }

    async fn rewind(&mut self) -> Result<(), LogError> {
        self.0.rewind().await
    }
}

async fn open() -> (World, Arc<Fault>) {
    let (mut world, fault) = (World::open().await, Arc::new(Fault::default()));
    world.log = Arc::new(FaultyLog(world.log.clone(), fault.clone()));
    (world, fault)
}

/// Waits until `is_so`.
async fn until(is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_log_refuses_is_tried_again_and_the_session_goes_on() {
    let (mut world, fault) = open().await;
    fault.commit.store(true, Ordering::SeqCst);
    world.start(World::quick());
    let mut last = world.append(vec![delivery("ann", "0")]).await[0];
    for n in 1..30 {
        world.settle(&[last]).await;
        last = world.append(vec![delivery("ann", &n.to_string())]).await[0];
    }
    let landed = || world.tables.positions(Table::EmailState).get(&last.partition).copied();
    until(async || landed() == Some(last.offset + 1) && fault.refused.load(Ordering::SeqCst) > 1).await;
    let committed = async || world.log.committed(GROUP, Topic::MailboxChanges, last.partition).await.unwrap();
    assert_eq!(committed().await, None);
    let held = world.hot.rows(last.partition, 0).await.unwrap();
    assert_eq!((held.held_from, held.rows.len()), (0, 30), "the hot store was not begun afresh");

    fault.commit.store(false, Ordering::SeqCst);
    until(async || committed().await == Some(last.offset + 1)).await;
    assert_eq!(fault.subscribed.load(Ordering::SeqCst), 1);
    world.stop().await;
    assert_eq!(world.stored_rows().await.0, 30, "each email landed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_lander_goes_on_with_what_the_hot_store_holds() {
    let (mut world, fault) = open().await;
    world.start(World::slow());
    let mut positions = world.append(vec![delivery("ann", "1"), delivery("ann", "2")]).await;
    positions.extend(world.append(vec![patch("ann", "1", r#"{"keywords":{"$seen":true}}"#)]).await);
    world.settle(&positions).await;
    let before = world.mailboxes.view("ann").await.unwrap();
    world.kill().await;

    // It can read nothing, so what is shown and landed is what it found.
    fault.poll.store(true, Ordering::SeqCst);
    world.start(World::slow());
    until(async || fault.refused.load(Ordering::SeqCst) > 0).await;
    let anew = Mailboxes::new(
        world.log.clone(),
        world.hot.clone(),
        world.tables.clone(),
        world.search.clone(),
        MailboxesOptions::default(),
    );
    let view = anew.view("ann").await.unwrap();
    assert_eq!((view.state, view.len()), (before.state, 2));
    world.stop().await;
    let rows = world.stored_rows().await;
    fault.poll.store(false, Ordering::SeqCst);
    world.reopen().await;
    world.start(World::slow());
    assert!(world.mailboxes.view("ann").await.unwrap().get("1").unwrap().is_read());
    world.stop().await;
    assert_eq!((rows, world.stored_rows().await), ((2, 4), (2, 4)), "two emails; three versions and a tombstone, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_an_older_state_while_the_hot_store_is_filled_again() {
    let (mut world, _) = open().await;
    world.start(World::slow());
    let positions = world.append((0..20).map(|n| delivery("ann", &n.to_string())).collect()).await;
    world.settle(&positions).await;
    let (before, partition) = (world.mailboxes.view("ann").await.unwrap(), positions[0].partition);
    world.kill().await;
    let (_, end) = world.log.bounds(Topic::MailboxChanges, partition).await.unwrap();
    world.hot.reset(partition, 0, end).await.unwrap();

    let (seen, anew) = (world.mailboxes.clone(), world.search.clone());
    let anew =
        Mailboxes::new(world.log.clone(), world.hot.clone(), world.tables.clone(), anew, MailboxesOptions::default());
    let mut reading = tokio::spawn(async move { (seen.view("ann").await.unwrap(), anew.view("ann").await.unwrap()) });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut reading).await;
    assert!(early.is_err() || early.unwrap().unwrap().0.state >= before.state);
    world.start(World::slow());
    let (seen, anew) = reading.await.unwrap();
    assert_eq!((seen.state, anew.state, anew.len()), (before.state, before.state, 20));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_log_refuses_lands_all_the_same() {
    let (mut world, fault) = open().await;
    world.start(World::slow());
    let positions = world.append(vec![delivery("ann", "1"), delivery("bob", "2")]).await;
    world.settle(&positions).await;
    fault.commit.store(true, Ordering::SeqCst);
    world.stop().await;
    assert_eq!(world.stored_rows().await.0, 2);
    fault.commit.store(false, Ordering::SeqCst);
    world.reopen().await;
    world.start(World::slow());
    world.stop().await;
    assert_eq!(world.stored_rows().await.0, 2, "the tables know where to go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_for_a_while_costs_no_session() {
    let (mut world, fault) = open().await;
    world.start(World::quick());
    let first = world.append(vec![delivery("ann", "1")]).await;
    world.settle(&first).await;
    fault.poll.store(true, Ordering::SeqCst);
    until(async || fault.refused.load(Ordering::SeqCst) > 0).await;
    let second = world.append(vec![delivery("ann", "2")]).await;
    fault.poll.store(false, Ordering::SeqCst);
    world.settle(&second).await;
    assert_eq!(fault.subscribed.load(Ordering::SeqCst), 1);
    world.stop().await;
    assert_eq!(world.stored_rows().await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_partitions_change_while_the_catalog_is_away_new_mail_is_shown_and_lands_once_later() {
    let (mut world, fault) = open().await;
    let is_away = Arc::new(AtomicBool::new(false));
    world.tables = open_leaving(world.dir.path(), is_away.clone()).await;
    world.start(World::quick());
    let first = world.append(vec![delivery("ann", "1"), delivery("ann", "2")]).await;
    let partition = first[0].partition;
    let landed = |world: &World| world.tables.snapshot(Table::EmailState).positions().get(&partition).copied();
    until(async || landed(&world) == Some(2)).await;

    is_away.store(true, Ordering::SeqCst);
    world.settle(&world.append(vec![delivery("ann", "3")]).await).await;
    // Long enough for a landing to hang at the catalog.
    tokio::time::sleep(Duration::from_millis(500)).await;
    fault.gone.store((partition + 1) % world.log.partitions(Topic::MailboxChanges) + 1, Ordering::SeqCst);
    let changes = vec![delivery("ann", "4"), patch("ann", "1", r#"{"keywords":{"$seen":true}}"#)];
    let last = *world.append(changes).await.last().unwrap();
    let begun = Instant::now();
    let is_shown = async || world.hot.applied_to(partition).await.unwrap().is_some_and(|to| to > last.offset);
    until(is_shown).await;
    assert!(begun.elapsed() < MOVE_PATIENCE + RESUME_PATIENCE + Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(landed(&world), Some(2));
    // And again, from what was known from the beginning.
    fault.gone.store(0, Ordering::SeqCst);
    let last = world.append(vec![delivery("ann", "5")]).await[0];
    until(async || world.hot.applied_to(partition).await.unwrap().is_some_and(|to| to > last.offset)).await;

    // What was given up is committed now, before or after what is landed anew.
    is_away.store(false, Ordering::SeqCst);
    until(async || landed(&world) == Some(last.offset + 1)).await;
    world.stop().await;
    assert_eq!(world.stored_rows().await, (5, 7), "five emails; six versions and a tombstone, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lander_that_knows_an_old_snapshot_lands_only_what_others_have_not() {
    let (mut world, _) = open().await;
    let is_away = Arc::new(AtomicBool::new(false));
    let old = open_leaving(world.dir.path(), is_away.clone()).await;
    // Another lands some of it, which the hot store still holds.
    world.start(World::slow());
    world.settle(&world.append(vec![delivery("ann", "1"), delivery("ann", "2")]).await).await;
    world.stop().await;
    is_away.store(true, Ordering::SeqCst);
    world.tables = old;
    world.start(World::quick());
    let last = world.append(vec![delivery("ann", "3"), patch("ann", "1", r#"{"keywords":{"$seen":true}}"#)]).await;
    world.settle(&last).await;
    is_away.store(false, Ordering::SeqCst);
    let partition = last[0].partition;
    until(async || world.tables.positions(Table::EmailState).get(&partition) == Some(&4)).await;
    world.stop().await;
    assert_eq!(world.stored_rows().await, (3, 5), "three emails; four versions and a tombstone, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_catalog_a_hot_store_that_was_lost_is_not_begun_afresh() {
    let (mut world, _) = open().await;
    let is_away = Arc::new(AtomicBool::new(false));
    world.start(World::slow());
    let positions = world.append(vec![delivery("ann", "1"), delivery("ann", "2")]).await;
    world.settle(&positions).await;
    world.stop().await;
    world.reopen().await;
    world.tables = open_leaving(world.dir.path(), is_away.clone()).await;
    is_away.store(true, Ordering::SeqCst);
    world.start(World::quick());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.hot.applied_to(positions[0].partition).await.unwrap(), None);
    is_away.store(false, Ordering::SeqCst);
    world.settle(&world.append(vec![delivery("ann", "3")]).await).await;
    world.stop().await;
    assert_eq!(world.stored_rows().await.0, 3);
}
