//! Appending: a record by itself through the idempotent producer, several as one through transactions that all who
//! wait share.

use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::{mpsc, oneshot};

use super::options::{APPEND_TIMEOUT, KafkaOptions, Telling};
use super::transaction::{Failure, Transactions, Transactor, end_what_was_left_open, position};
use crate::log::{LogError, NewRecord, Position};

/// Callers whose records share a transaction.
const MAX_SHARED: usize = 256;
/// Records of one transaction, about.
const MAX_RECORDS: usize = 10_000;
/// Callers that may wait for the next one.
const MAX_WAITING: usize = 4096;

type Answer = oneshot::Sender<Result<Vec<Position>, LogError>>;

struct Request {
    records: Vec<(u32, NewRecord)>,
    answer: Answer,
}

type Single = FutureProducer<Telling>;

pub(super) struct Appender {
    options: KafkaOptions,
    /// One that has met a fatal error takes nothing ever again, and another is made in its place.
    producer: Mutex<Single>,
    requests: mpsc::Sender<Request>,
}

impl Appender {
    /// Starts the task that runs transactions.
    pub(super) fn start(options: &KafkaOptions) -> Result<Self, KafkaError> {
        let producer = Mutex::new(options.producer().create_with_context(Telling)?);
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let mut transactions = Transactions::new(options, "append");
        let is_name_kept = options.is_name_kept;
        tokio::spawn(async move {
            if is_name_kept {
                end_what_was_left_open(&mut transactions).await;
            }
            serve(waiting, transactions).await;
        });
        Ok(Self { options: options.clone(), producer, requests })
    }

    /// Whether records are taken, as far as is known without sending one.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let fatal = self.producer.lock().client().fatal_error();
        let Some((code, reason)) = fatal else { return Ok(()) };
        self.replace(code, &reason);
        Err(LogError::Unavailable(format!("the producer has ended and begins anew: {reason}")))
    }

    fn replace(&self, code: RDKafkaErrorCode, reason: &str) {
        match self.options.producer().create_with_context(Telling) {
            Ok(anew) => {
                tracing::error!(?code, reason, "the idempotent producer has ended and begins anew");
                *self.producer.lock() = anew;
            }
            Err(error) => tracing::error!(%error, "no new producer can be made"),
        }
    }

    /// Appends records to the partitions beside them.
    pub(super) async fn append(&self, mut records: Vec<(u32, NewRecord)>) -> Result<Vec<Position>, LogError> {
        if records.len() == 1 {
            let (partition, record) = records.remove(0);
            return Ok(vec![self.append_one(partition, &record).await?]);
        }
        let gone = || LogError::Unavailable("the process is ending".to_owned());
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { records, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    async fn append_one(&self, partition: u32, record: &NewRecord) -> Result<Position, LogError> {
        let item = FutureRecord::to(record.topic.name())
            .partition(partition as i32)
            .key(record.key.as_bytes())
            .payload(&record.value[..]);
        let producer = self.producer.lock().clone();
        match tokio::time::timeout(APPEND_TIMEOUT, producer.send(item, Duration::ZERO)).await {
            Ok(Ok(delivery)) => Ok(position(record, delivery.partition, delivery.offset)),
            Ok(Err((error, _))) => {
                // The caller is answered as ever; who comes next finds a producer that works.
                let _ = self.check();
                Err(refusal(record, partition, &error))
            }
            Err(_) => {
                let seconds = APPEND_TIMEOUT.as_secs();
                let reason = format!("Kafka has not acknowledged a record of {} in {seconds} s", record.topic);
                // It is sent until it is taken.
                Err(LogError::InDoubt(reason))
            }
        }
    }
}

/// A record that was sent may be there, unless a broker, or our own queue, has said that it does not take it.
fn refusal(record: &NewRecord, partition: u32, error: &KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let reason = format!("Kafka does not take a record of {}: {error}", record.topic);
    match error.rdkafka_error_code() {
        Some(Code::UnknownPartition) => LogError::NoPartition { topic: record.topic, partition },
        Some(Code::QueueFull) => {
            LogError::Unavailable("too many records wait for Kafka to acknowledge them".to_owned())
        }
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::PolicyViolation
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed,
        ) => LogError::Unavailable(reason),
        _ => LogError::InDoubt(reason),
    }
}

/// Runs a transaction for all who wait, again and again, until nobody can ask any more.
async fn serve(mut waiting: mpsc::Receiver<Request>, mut transactions: Transactions) {
    while let Some(first) = waiting.recv().await {
        let mut requests = vec![first];
        let mut count = requests[0].records.len();
        while requests.len() < MAX_SHARED && count < MAX_RECORDS {
            let Ok(next) = waiting.try_recv() else { break };
            count += next.records.len();
            requests.push(next);
        }
        let records: Vec<_> = requests.iter().flat_map(|request| request.records.iter().cloned()).collect();
        let outcome = transactions.call(move |transactor| run(transactor, &records)).await;
        answer(requests, outcome);
    }
}

/// A producer that another process has fenced off was frozen for long, or shares its name: one new try.
fn run(transactor: &mut Transactor, records: &[(u32, NewRecord)]) -> Result<Vec<Position>, Failure> {
    match transactor.run(records, None) {
        Err(Failure::Fenced(reason)) => {
            tracing::warn!(reason, "the producer of transactions was fenced off and begins anew");
            transactor.run(records, None)
        }
        outcome => outcome,
    }
}

fn answer(requests: Vec<Request>, mut outcome: Result<Vec<Position>, Failure>) {
    for request in requests {
        let own = match &mut outcome {
            Ok(positions) => Ok(positions.drain(..request.records.len()).collect()),
            Err(Failure::InDoubt(reason)) => Err(LogError::InDoubt(reason.clone())),
            Err(Failure::Refused(reason) | Failure::Fenced(reason)) => Err(LogError::Unavailable(reason.clone())),
        };
        // Whoever asked may have given up.
        let _ = request.answer.send(own);
    }
}
