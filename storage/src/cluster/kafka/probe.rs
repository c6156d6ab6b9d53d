//! Whether brokers can be used, found out by trying.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use millrace_schemas::Topic;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::KafkaLog;
use super::options::{KafkaOptions, REQUEST_TIMEOUT, Telling};
use super::transaction::{Failure, Transactions, Transactor};
use super::{reach, retention, topics};
use crate::log::{Log, LogError};

/// Where the record goes that shows whether we may write: the topic that has the fewest.
const QUIET: Topic = Topic::DeadLetter;
const GROUP: &str = "millrace.probe";
/// Brokers share partitions out after some seconds.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);

/// Tries what the log needs: brokers, topics that are as they would be made, a record in a transaction that is taken back,
/// the right to delete, groups. Gives what was found, a line each. Makes the topics that do not exist, as any start does.
///
/// # Errors
/// The first that does not work, and why.
pub async fn probe(options: KafkaOptions) -> Result<Vec<String>, LogError> {
    let brokers = reach::metadata(&options).await?.brokers().len();
    let mut found = vec![format!("{brokers} broker(s)")];
    let replicas = options.replication_factor as usize;
    if replicas > brokers {
        let advice = format!("kafka.replication_factor is {replicas}, and there are {brokers} broker(s)");
        return Err(LogError::Unavailable(advice));
    }
    if replicas < 3 {
        found.push(format!("topics have {replicas} replica(s): a broker that is lost takes mail with it or stops it"));
    }
    let partitions = topics::ensure(&options).await?;
    found.push(format!("{} topics", partitions.len()));
    found.extend(topics::hold(&options).await?);
    let written = Transactions::new(&options, "probe").call(write_and_abort).await;
    written.map_err(refused)?;
    found.push("a record is written in a transaction, and taken back".to_owned());
    retention::try_to_delete(&options, QUIET).await?;
    found.push("records may be deleted".to_owned());
    let log = KafkaLog::open(options).await?;
    log.committed(GROUP, QUIET, 0).await?;
    join(&log).await?;
    found.push("a group is joined".to_owned());
    Ok(found)
}

/// Leaves no position behind, which would keep what comes later.
async fn join(log: &KafkaLog) -> Result<(), LogError> {
    let mut member = log.subscribe(GROUP, QUIET).await?;
    let deadline = Instant::now() + JOIN_PATIENCE;
    while member.assignment().is_empty() {
        if Instant::now() > deadline {
            return Err(LogError::Unavailable(format!(
                "the group {GROUP} gives its only member no partition of {QUIET} within {} s; check that kafka.username \
                 may read our groups and topics",
                JOIN_PATIENCE.as_secs()
            )));
        }
        member.poll(1, Duration::from_millis(100)).await?;
    }
    Ok(())
}

/// Shows whether we may write. Readers never see the record.
fn write_and_abort(transactor: &mut Transactor) -> Result<(), Failure> {
    let producer = transactor.begin_anew()?;
    producer.begin_transaction().map_err(|error| failure(&error))?;
    let written = write(producer);
    let aborted = producer.abort_transaction(REQUEST_TIMEOUT).map_err(|error| failure(&error));
    written.and(aborted)
}

fn write(producer: &FutureProducer<Telling>) -> Result<(), Failure> {
    let record = FutureRecord::to(QUIET.name()).partition(0).key("probe").payload("`millrace config check`");
    let delivery = producer.send_result(record).map_err(|(error, _)| failure(&error))?;
    match block_on(delivery) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(failure(&error)),
        Err(_) => Err(Failure::InDoubt("its delivery is not told".to_owned())),
    }
}

fn failure(error: &KafkaError) -> Failure {
    Failure::Refused(error.to_string())
}

fn refused(failure: Failure) -> LogError {
    let (Failure::Refused(reason) | Failure::Fenced(reason) | Failure::InDoubt(reason)) = failure;
    LogError::Unavailable(format!(
        "a record of {QUIET} cannot be written in a transaction: {reason}; check that kafka.username may write to our \
         topics and use transactional ids that begin with millrace., and that enough replicas are in sync"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options() -> KafkaOptions {
        let brokers = std::env::var("MILLRACE_TEST_KAFKA").expect("MILLRACE_TEST_KAFKA is the address of a broker");
        KafkaOptions::new(brokers, format!("probe-{}", ulid::Ulid::new()))
    }

    /// Until what was altered has come round among the brokers.
    async fn probed(wanted: impl Fn(&Result<Vec<String>, LogError>) -> bool) -> Result<Vec<String>, LogError> {
        for _ in 0..20 {
            let found = probe(options()).await;
            if wanted(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        probe(options()).await
    }

    /// One test, since others would meet the topic while it is wrong.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs Kafka: compose/native/test"]
    async fn a_record_is_taken_back_and_a_topic_that_would_lose_some_is_told() {
        let found = probe(options()).await.unwrap();
        assert!(found.iter().any(|line| line.contains("taken back")), "{found:?}");
        let log = KafkaLog::open(options()).await.unwrap();
        let (first, _) = log.bounds(QUIET, 0).await.unwrap();
        let records = log.read(QUIET, 0, first, 10_000, 1 << 24).await.unwrap();
        assert!(records.iter().all(|record| record.key != "probe"));

        topics::alter(&options(), QUIET, Some(("retention.ms", "604800000"))).await;
        let told = probed(Result::is_err).await.unwrap_err().to_string();
        for part in [QUIET.name(), "retention.ms is 604800000", "--add-config retention.ms=-1"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        topics::alter(&options(), QUIET, None).await;
        probed(Result::is_ok).await.unwrap();
    }
}
