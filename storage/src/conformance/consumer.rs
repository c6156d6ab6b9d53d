//! [`Consumer`]: groups, their positions, and outputs that commit with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::Topic;
use millrace_schemas::topic::partition_of;

use super::log::{append_all, read_from, record};
use super::{A_MOMENT, PATIENCE, Place, unique};
use crate::log::{Consumer, Log, LogError, Position, Record};

pub async fn all(place: &dyn Place<dyn Log>) {
    a_commit_moves_the_group_and_appends_its_outputs(place).await;
    a_rewind_reads_again(place).await;
    positions_survive_a_restart(place).await;
    groups_do_not_see_each_other(place).await;
    a_seek_sets_where_the_next_poll_reads(place).await;
    a_commit_after_a_seek_takes_the_group_there(place).await;
    an_idle_poll_ends_with_the_timeout(place).await;
    a_poll_wakes_for_a_new_record(place).await;
    members_share_the_partitions(place).await;
    a_member_that_lost_a_partition_is_fenced(place).await;
    after_a_refused_commit_what_is_ours_comes_again_and_commits(place).await;
    a_member_that_goes_leaves_its_partitions_to_the_others(place).await;
    what_comes_to_a_member_can_be_sought_before_it_is_read(place).await;
}

/// Polls until `count` records with the key have come.
async fn poll_for(consumer: &mut dyn Consumer, key: &str, count: usize) -> Vec<Record> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut ours = Vec::new();
    while ours.len() < count {
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} records of {key} came", ours.len());
        let records = consumer.poll(500, Duration::from_secs(1)).await.expect("a poll");
        ours.extend(records.into_iter().filter(|record| record.key.starts_with(key)));
    }
    ours
}

fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

/// Waits until a member of the group owns as many partitions as it should.
async fn await_assignment(consumer: &mut dyn Consumer, count: usize) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while consumer.assignment().len() != count {
        assert!(tokio::time::Instant::now() < deadline, "a member has {:?}", consumer.assignment());
        // Polling is what lets a broker's client take part in sharing out; nothing of it counts.
        let _ = consumer.poll(1, Duration::from_millis(50)).await;
        let _ = consumer.rewind().await;
    }
}

pub async fn a_commit_moves_the_group_and_appends_its_outputs(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let (group, key) = (unique("group"), unique("key"));
    let at = append_all(&*log, Topic::Reception, &key, &["1", "2", "3"]).await;
    assert_eq!(log.committed(&group, Topic::Reception, at[0].partition).await.expect("a position"), None);
    let mut consumer = log.subscribe(&group, Topic::Reception).await.expect("a member");
    let polled = poll_for(&mut *consumer, &key, 3).await;
    assert_eq!(values(&polled), ["1", "2", "3"]);
    let outputs = consumer.commit(vec![record(Topic::Screened, &key, "out")]).await.expect("a commit");
    let committed = log.committed(&group, Topic::Reception, at[0].partition).await.expect("a position");
    assert!(committed.is_some_and(|offset| offset > at[2].offset));
    let output = log.read(Topic::Screened, outputs[0].partition, outputs[0].offset, 1, 1000).await.expect("a read");
    assert_eq!(values(&output), ["out"]);
    append_all(&*log, Topic::Reception, &key, &["4"]).await;
    assert_eq!(values(&poll_for(&mut *consumer, &key, 1).await), ["4"]);
}

pub async fn a_rewind_reads_again(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    append_all(&*log, Topic::Reception, &key, &["1", "2"]).await;
    let mut consumer = log.subscribe(&unique("group"), Topic::Reception).await.expect("a member");
    poll_for(&mut *consumer, &key, 2).await;
    consumer.commit(Vec::new()).await.expect("a commit");
    append_all(&*log, Topic::Reception, &key, &["3", "4"]).await;
    poll_for(&mut *consumer, &key, 2).await;
    consumer.rewind().await.expect("a rewind");
    assert_eq!(values(&poll_for(&mut *consumer, &key, 2).await), ["3", "4"]);
}

pub async fn positions_survive_a_restart(place: &dyn Place<dyn Log>) {
    let (group, key) = (unique("group"), unique("key"));
    {
        let log = place.open().await;
        append_all(&*log, Topic::Reception, &key, &["1", "2"]).await;
        let mut consumer = log.subscribe(&group, Topic::Reception).await.expect("a member");
        poll_for(&mut *consumer, &key, 2).await;
        consumer.commit(Vec::new()).await.expect("a commit");
        append_all(&*log, Topic::Reception, &key, &["3"]).await;
        poll_for(&mut *consumer, &key, 1).await;
    }
    let log = place.open().await;
    let mut consumer = log.subscribe(&group, Topic::Reception).await.expect("a member");
    assert_eq!(values(&poll_for(&mut *consumer, &key, 1).await), ["3"], "what was polled only is polled again");
}

pub async fn groups_do_not_see_each_other(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    append_all(&*log, Topic::Reception, &key, &["1"]).await;
    for _ in 0..2 {
        let mut consumer = log.subscribe(&unique("group"), Topic::Reception).await.expect("a member");
        assert_eq!(values(&poll_for(&mut *consumer, &key, 1).await), ["1"]);
        consumer.commit(Vec::new()).await.expect("a commit");
    }
}

pub async fn a_seek_sets_where_the_next_poll_reads(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    let at = append_all(&*log, Topic::Reception, &key, &["1", "2", "3"]).await;
    let mut consumer = log.subscribe(&unique("group"), Topic::Reception).await.expect("a member");
    poll_for(&mut *consumer, &key, 3).await;
    consumer.seek(at[1].partition, at[1].offset).await.expect("a seek");
    assert_eq!(values(&poll_for(&mut *consumer, &key, 2).await), ["2", "3"]);
    consumer.rewind().await.expect("a rewind");
    assert_eq!(values(&poll_for(&mut *consumer, &key, 2).await), ["2", "3"], "a rewind goes back to the seek");
}

/// A lander reads ahead of what it has landed: before a commit it seeks back to that, and after it forward again.
pub async fn a_commit_after_a_seek_takes_the_group_there(place: &dyn Place<dyn Log>) {
    let (group, key) = (unique("group"), unique("key"));
    let at = {
        let log = place.open().await;
        let at = append_all(&*log, Topic::Reception, &key, &["1", "2", "3", "4"]).await;
        let partition = at[0].partition;
        let committed = || log.committed(&group, Topic::Reception, partition);
        let mut consumer = log.subscribe(&group, Topic::Reception).await.expect("a member");
        poll_for(&mut *consumer, &key, 3).await;
        consumer.seek(partition, at[1].offset).await.expect("a seek");
        assert_eq!(committed().await.expect("a position"), None, "a seek alone moves nothing");
        consumer.commit(Vec::new()).await.expect("a commit");
        assert_eq!(committed().await.expect("a position"), Some(at[1].offset), "not to what was polled before");
        consumer.seek(partition, at[3].offset).await.expect("a seek");
        assert_eq!(values(&poll_for(&mut *consumer, &key, 1).await), ["4"]);
        consumer.seek(partition, at[2].offset).await.expect("a seek");
        let outputs = consumer.commit(vec![record(Topic::Screened, &key, "out")]).await.expect("a commit");
        assert_eq!(outputs.len(), 1);
        assert_eq!(committed().await.expect("a position"), Some(at[2].offset));
        consumer.seek(partition, at[3].offset).await.expect("a seek");
        at
    };
    let log = place.open().await;
    let committed = log.committed(&group, Topic::Reception, at[0].partition).await.expect("a position");
    assert_eq!(committed, Some(at[2].offset), "what was sought and not committed is forgotten");
    let mut consumer = log.subscribe(&group, Topic::Reception).await.expect("a member");
    assert_eq!(values(&poll_for(&mut *consumer, &key, 2).await), ["3", "4"]);
}

pub async fn an_idle_poll_ends_with_the_timeout(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let mut consumer = log.subscribe(&unique("group"), Topic::Delivery).await.expect("a member");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !consumer.poll(1000, A_MOMENT).await.expect("a poll").is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the topic does not end");
    }
}

pub async fn a_poll_wakes_for_a_new_record(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let key = unique("key");
    let mut consumer = log.subscribe(&unique("group"), Topic::Reception).await.expect("a member");
    let waiter = {
        let key = key.clone();
        tokio::spawn(async move { poll_for(&mut *consumer, &key, 1).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    append_all(&*log, Topic::Reception, &key, &["late"]).await;
    assert_eq!(values(&waiter.await.expect("a waiter")), ["late"]);
}

pub async fn members_share_the_partitions(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let partitions = log.partitions(Topic::Reception);
    assert!(partitions >= 2 && partitions.is_multiple_of(2), "the suite needs an even number of partitions");
    let group = unique("group");
    let mut one = log.subscribe(&group, Topic::Reception).await.expect("a member");
    await_assignment(&mut *one, partitions as usize).await;
    let mut two = log.subscribe(&group, Topic::Reception).await.expect("a member");
    tokio::join!(
        await_assignment(&mut *one, partitions as usize / 2),
        await_assignment(&mut *two, partitions as usize / 2)
    );
    let all: BTreeSet<u32> = one.assignment().into_iter().chain(two.assignment()).collect();
    assert_eq!(all, (0..partitions).collect());
}

pub async fn a_member_that_lost_a_partition_is_fenced(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let (group, key) = (unique("group"), unique("key"));
    for n in 0..64 {
        append_all(&*log, Topic::Reception, &format!("{key}-{n}"), &["in"]).await;
    }
    let mut one = log.subscribe(&group, Topic::Reception).await.expect("a member");
    poll_for(&mut *one, &key, 64).await;
    let mut two = log.subscribe(&group, Topic::Reception).await.expect("a member");
    // The first member does not poll meanwhile: it holds records of partitions that are going to the second.
    let partitions = log.partitions(Topic::Reception) as usize;
    let sharing = tokio::time::timeout(PATIENCE, await_assignment(&mut *two, partitions / 2)).await;
    sharing.expect("the second member gets its share");
    let outcome = one.commit(vec![record(Topic::Screened, &key, "twice")]).await;
    assert!(matches!(outcome, Err(LogError::Fenced { topic: Topic::Reception, .. })), "{outcome:?}");
    for partition in 0..log.partitions(Topic::Reception) {
        let committed = log.committed(&group, Topic::Reception, partition).await.expect("a position");
        assert_eq!(committed, None, "nothing of the commit happened");
    }
}

/// Being fenced is the one refusal that every adapter can be brought to. Afterwards nothing of it is left, and both
/// members together process each record once.
pub async fn after_a_refused_commit_what_is_ours_comes_again_and_commits(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let (group, key) = (unique("group"), unique("key"));
    let mut ends = BTreeMap::new();
    for n in 0..64 {
        let at = append_all(&*log, Topic::Reception, &format!("{key}-{n}"), &["in"]).await[0];
        ends.insert(at.partition, at.offset);
    }
    let out_of = |records: &[Record]| records.iter().map(|input| record(Topic::Screened, &key, &input.key)).collect();
    let mut one = log.subscribe(&group, Topic::Reception).await.expect("a member");
    let stale = poll_for(&mut *one, &key, 64).await;
    let mut two = log.subscribe(&group, Topic::Reception).await.expect("a member");
    let half = log.partitions(Topic::Reception) as usize / 2;
    await_assignment(&mut *two, half).await;
    let outcome = one.commit(out_of(&stale)).await;
    assert!(matches!(outcome, Err(LogError::Fenced { .. })), "{outcome:?}");
    tokio::join!(await_assignment(&mut *one, half), await_assignment(&mut *two, half));
    let mut inputs = Vec::new();
    let mut outputs = Vec::new();
    for member in [&mut one, &mut two] {
        let ours = member.assignment();
        let count = stale.iter().filter(|record| ours.contains(&record.position.partition)).count();
        let again = poll_for(&mut **member, &key, count).await;
        assert!(again.iter().all(|record| ours.contains(&record.position.partition)));
        outputs.extend(member.commit(out_of(&again)).await.expect("a commit"));
        inputs.extend(again.into_iter().map(|record| record.key));
    }
    let each: BTreeSet<&String> = inputs.iter().collect();
    assert_eq!((inputs.len(), each.len()), (64, 64), "each record is processed once");
    for (partition, end) in ends {
        let committed = log.committed(&group, Topic::Reception, partition).await.expect("a position");
        assert!(committed.is_some_and(|offset| offset > end));
    }
    let partition = partition_of(&key, log.partitions(Topic::Screened));
    let (first, _) = log.bounds(Topic::Screened, partition).await.expect("bounds");
    let screened = read_from(&*log, Position { topic: Topic::Screened, partition, offset: first }).await;
    let places: Vec<Position> =
        screened.iter().filter(|record| record.key == key).map(|record| record.position).collect();
    assert_eq!(places, outputs, "of the refused commit there is no output");
}

pub async fn a_member_that_goes_leaves_its_partitions_to_the_others(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let (group, key) = (unique("group"), unique("key"));
    let partitions = log.partitions(Topic::Reception) as usize;
    let mut one = log.subscribe(&group, Topic::Reception).await.expect("a member");
    let mut two = log.subscribe(&group, Topic::Reception).await.expect("a member");
    tokio::join!(await_assignment(&mut *one, partitions / 2), await_assignment(&mut *two, partitions / 2));
    drop(one);
    await_assignment(&mut *two, partitions).await;
    append_all(&*log, Topic::Reception, &key, &["for whom it may concern"]).await;
    poll_for(&mut *two, &key, 1).await;
}

/// A lander seeks a partition that comes to it to where the tables end: no record may slip out before.
pub async fn what_comes_to_a_member_can_be_sought_before_it_is_read(place: &dyn Place<dyn Log>) {
    let log = place.open().await;
    let (group, key) = (unique("group"), unique("key"));
    for n in 0..64 {
        append_all(&*log, Topic::Reception, &format!("{key}-{n}"), &["in"]).await;
    }
    let partitions = log.partitions(Topic::Reception) as usize;
    let mut one = Some(log.subscribe(&group, Topic::Reception).await.expect("a member"));
    let mut two = log.subscribe(&group, Topic::Reception).await.expect("a member");
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while found.len() < 64 || seen.len() < partitions {
        assert!(tokio::time::Instant::now() < deadline, "{} of 64 records came", found.len());
        let known = two.assignment();
        let records = match two.poll(500, Duration::from_millis(200)).await {
            // The other was given what this one has read already: it comes again.
            Err(LogError::Fenced { .. }) => Vec::new(),
            polled => polled.expect("a poll"),
        };
        assert!(records.iter().all(|record| known.contains(&record.position.partition)), "{known:?}: {records:?}");
        found.extend(records.into_iter().map(|record| record.key).filter(|one| one.starts_with(&key)));
        seen.extend(two.assignment());
        match &mut one {
            Some(other) if two.assignment().is_empty() => {
                let _ = other.poll(1, Duration::from_millis(20)).await;
            }
            // Once both have a share, the other goes.
            _ => one = None,
        }
    }
}
