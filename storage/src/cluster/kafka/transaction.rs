//! One transaction at a time: records, and positions of a group, that become visible together or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::options::{KafkaOptions, Telling};
use crate::log::{LogError, NewRecord, Position};

/// How long a transaction may take in all before its outcome is left open.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long one is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it ended when it did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing happened.
    Refused(String),
    /// Nothing happened: this member, or this producer, has a successor.
    Fenced(String),
    /// The coordinator did not say. It decides when the next producer of this id starts.
    InDoubt(String),
}

impl Failure {
    fn of(error: &KafkaError) -> Self {
        let text = error.to_string();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::RebalanceInProgress,
            ) => Self::Fenced(text),
            _ => Self::Refused(text),
        }
    }
}

/// The positions of a group that a transaction moves.
pub(super) struct Offsets {
    pub(super) positions: TopicPartitionList,
    pub(super) member: ConsumerGroupMetadata,
}

/// A transactional producer; calls block.
pub(super) struct Transactor {
    config: ClientConfig,
    producer: Option<FutureProducer<Telling>>,
}

impl Transactor {
    /// Connects with the first transaction.
    pub(super) fn new(options: &KafkaOptions, id: &str) -> Self {
        Self { config: options.transactional(&format!("millrace.{}.{id}", options.node_name)), producer: None }
    }

    /// The producer, once whatever its predecessor left open is committed or aborted.
    pub(super) fn begin_anew(&mut self) -> Result<&FutureProducer<Telling>, Failure> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => {
                let refused = |error: KafkaError| Failure::Refused(error.to_string());
                let producer: FutureProducer<Telling> = self.config.create_with_context(Telling).map_err(refused)?;
                producer.init_transactions(TIMEOUT).map_err(|error| Failure::of(&error))?;
                producer
            }
        };
        Ok(self.producer.insert(producer))
    }

    /// Commits records to their partitions, and positions, as one.
    pub(super) fn run(
        &mut self,
        records: &[(u32, NewRecord)],
        offsets: Option<&Offsets>,
    ) -> Result<Vec<Position>, Failure> {
        let producer = self.begin_anew()?;
        let outcome = attempt(producer, records, offsets);
        if let Err(failure) = &outcome {
            // Left open it would hold back who reads what it wrote. A producer with a successor is told so at once.
            let is_known = !matches!(failure, Failure::InDoubt(_));
            if !(is_known && producer.abort_transaction(TIMEOUT).is_ok()) {
                // A new producer of the same id ends what this one left.
                self.producer = None;
            }
        }
        outcome
    }
}

/// A transactor that is never waited for without end: librdkafka 2.12 does not keep to the time that it is given for
/// positions when their coordinator is lost meanwhile, and its thread waits for ever.
pub(super) struct Transactions {
    options: KafkaOptions,
    id: String,
    transactor: Arc<Mutex<Transactor>>,
}

impl Transactions {
    pub(super) fn new(options: &KafkaOptions, id: &str) -> Self {
        let transactor = Arc::new(Mutex::new(Transactor::new(options, id)));
        Self { options: options.clone(), id: id.to_owned(), transactor }
    }

    /// Works on a thread that may block. One that does not come back keeps its transactor; the next call has a new one,
    /// whose producer ends what the other left open.
    pub(super) async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Transactor) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let transactor = self.transactor.clone();
        let working = tokio::task::spawn_blocking(move || work(&mut transactor.lock()));
        match tokio::time::timeout(PATIENCE, working).await {
            Ok(done) => done.unwrap_or_else(|error| Err(Failure::InDoubt(error.to_string()))),
            Err(_) => {
                metrics::counter!("millrace_log_transactions_abandoned_total").increment(1);
                tracing::error!(id = self.id, "a transaction does not come back and is left to its coordinator");
                self.transactor = Arc::new(Mutex::new(Transactor::new(&self.options, &self.id)));
                Err(Failure::InDoubt(format!("no answer for {} s", PATIENCE.as_secs())))
            }
        }
    }
}

/// A transaction that a predecessor of our name left open holds back everyone who reads what it wrote: it ends now.
pub(super) async fn end_what_was_left_open(transactions: &mut Transactions) {
    if let Err(failure) = transactions.call(|transactor| transactor.begin_anew().map(drop)).await {
        tracing::warn!(?failure, "what a predecessor left open ends when its time is over");
    }
}

/// How a record was delivered, unless its producer went before it was told.
type Delivered = <DeliveryFuture as Future>::Output;

fn attempt(
    producer: &FutureProducer<Telling>,
    records: &[(u32, NewRecord)],
    offsets: Option<&Offsets>,
) -> Result<Vec<Position>, Failure> {
    let deadline = Instant::now() + TIMEOUT;
    producer.begin_transaction().map_err(|error| Failure::of(&error))?;
    let mut deliveries = Vec::with_capacity(records.len());
    let begun = Instant::now();
    for (partition, record) in records {
        deliveries.push(send(producer, *partition, record, deadline)?);
    }
    if let Some(Offsets { positions, member }) = offsets {
        let sent = producer.send_offsets_to_transaction(positions, member, TIMEOUT);
        sent.map_err(|error| Failure::of(&error))?;
    }
    metrics::histogram!("millrace_log_transaction_offsets_seconds").record(begun.elapsed());
    let begun = Instant::now();
    // The commit would wait for them, too, but rdkafka 0.39 looks only every 100 ms then. What was not delivered makes
    // it fail.
    let delivered: Vec<Delivered> = deliveries.into_iter().map(futures::executor::block_on).collect();
    let are_delivered = delivered.iter().all(|one| matches!(one, Ok(Ok(_))));
    commit(producer, deadline).map_err(|failure| match failure {
        // A successor may have begun behind a commit that was made and whose answer was lost. The positions of a group
        // tell; records alone do not.
        Failure::Fenced(text) if offsets.is_none() && are_delivered => Failure::InDoubt(text),
        failure => failure,
    })?;
    metrics::histogram!("millrace_log_transaction_commit_seconds").record(begun.elapsed());
    let places = delivered.into_iter().zip(records).map(|(delivered, (_, record))| place(delivered, record));
    places.collect()
}

/// Hands a record to the client, which sends it in the background; waits while its queue is full.
fn send(
    producer: &FutureProducer<Telling>,
    partition: u32,
    record: &NewRecord,
    deadline: Instant,
) -> Result<DeliveryFuture, Failure> {
    let mut item = FutureRecord::to(record.topic.name())
        .partition(partition as i32)
        .key(record.key.as_bytes())
        .payload(&record.value[..]);
    loop {
        match producer.send_result(item) {
            Ok(delivery) => return Ok(delivery),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) if Instant::now() < deadline => {
                item = same;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(Failure::of(&error)),
        }
    }
}

fn commit(producer: &FutureProducer<Telling>, deadline: Instant) -> Result<(), Failure> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Err(error) = producer.commit_transaction(left) else { return Ok(()) };
        let KafkaError::Transaction(cause) = &error else { return Err(Failure::of(&error)) };
        if !cause.is_retriable() {
            return match Failure::of(&error) {
                // Only where the coordinator has said no is it known that nothing happened.
                Failure::Refused(text) if !cause.txn_requires_abort() => Err(Failure::InDoubt(text)),
                failure => Err(failure),
            };
        }
        if left.is_zero() {
            return Err(Failure::InDoubt(error.to_string()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a record of a committed transaction is.
fn place(delivered: Delivered, record: &NewRecord) -> Result<Position, Failure> {
    match delivered {
        Ok(Ok(delivery)) => Ok(position(record, delivery.partition, delivery.offset)),
        Ok(Err((error, _))) => Err(Failure::InDoubt(format!("committed, and yet not delivered: {error}"))),
        Err(_) => Err(Failure::InDoubt("the producer went before it said where records are".to_owned())),
    }
}

pub(super) fn position(record: &NewRecord, partition: i32, offset: i64) -> Position {
    Position { topic: record.topic, partition: partition.unsigned_abs(), offset: offset.unsigned_abs() }
}

/// What a caller of the log is told.
pub(super) fn unavailable(failure: Failure) -> LogError {
    let (Failure::Refused(text) | Failure::Fenced(text) | Failure::InDoubt(text)) = failure;
    LogError::Unavailable(text)
}
