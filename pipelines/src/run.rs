//! The loop of poll, evaluate, commit. Outputs and positions are one atomic step of the log, so that after a crash at
//! any moment each record counts once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use millrace_schemas::Topic;
use millrace_storage::log::{Consumer, Log, LogError};
use millrace_storage::{NewRecord, Record};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::batch::Processor;
use crate::error::PipelineError;
use crate::functions::{Functions, Unavailable};
use crate::plan::Pipeline;

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Batches begin at this size and grow while they are quick.
const FIRST_BATCH: usize = 64;

/// How a pipeline is run. None of it changes what comes out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Members of the consumer group in this process, each on its own share of the partitions.
    pub workers: usize,
    /// Most records in a batch.
    pub max_records: usize,
    /// Batches are sized to take about this long, so that a message does not wait for many others.
    pub target_batch: Duration,
    /// Bodies in memory at once per worker, unless one alone is larger.
    pub max_body_bytes: u64,
    /// Longest wait in a poll.
    pub poll_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
            max_records: 512,
            target_batch: Duration::from_millis(100),
            max_body_bytes: 32 << 20,
            poll_timeout: Duration::from_secs(1),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The log is damaged or lacks a topic: trying again does not help.
    #[error("pipeline {pipeline} stopped: {error}")]
    Log { pipeline: String, error: LogError },
    #[error("a worker of pipeline {pipeline} ended: {error}")]
    Worker { pipeline: String, error: JoinError },
}

/// Runs a pipeline until `shutdown`; batches under way are finished first.
///
/// # Errors
/// [`RunError`] when it cannot go on; what passes by itself is retried.
pub async fn run(
    pipeline: Arc<Pipeline>,
    log: Arc<dyn Log>,
    functions: Arc<dyn Functions>,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let stop = shutdown.child_token();
    let partitions = log.partitions(pipeline.source()) as usize;
    let mut workers = JoinSet::new();
    for _ in 0..options.workers.clamp(1, partitions.max(1)) {
        let processor = Processor::new(&pipeline, &functions, options.max_body_bytes).await?;
        let (pipeline, log) = (Arc::clone(&pipeline), Arc::clone(&log));
        let worker = Worker { pipeline, log, options: options.clone(), stop: stop.clone() };
        workers.spawn(worker.run(processor));
    }
    info!(pipeline = pipeline.name(), workers = workers.len(), "pipeline started");
    let mut result = Ok(());
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(RunError::Worker { pipeline: pipeline.name().into(), error }));
        if ended.is_err() && result.is_ok() {
            stop.cancel();
            result = ended;
        }
    }
    info!(pipeline = pipeline.name(), "pipeline stopped");
    result
}

struct Worker {
    pipeline: Arc<Pipeline>,
    log: Arc<dyn Log>,
    options: Options,
    stop: CancellationToken,
}

/// What stood in the way of a batch.
enum Hindrance {
    Log(LogError),
    Functions(Unavailable),
}

impl Hindrance {
    /// The kind as metrics name it: what the log says, or which function does not answer.
    fn kind(&self) -> &'static str {
        match self {
            Self::Log(error) => error.kind(),
            Self::Functions(error) => error.function,
        }
    }
}

impl Worker {
    async fn run(self, processor: Processor) -> Result<(), RunError> {
        let mut processor = Some(processor);
        let mut backoff = Backoff::default();
        let mut limit = FIRST_BATCH.min(self.options.max_records).max(1);
        let mut consumer: Option<Box<dyn Consumer>> = None;
        while !self.stop.is_cancelled() {
            let Some(member) = &mut consumer else {
                match self.log.subscribe(self.pipeline.name(), self.pipeline.source()).await {
                    Ok(member) => consumer = Some(member),
                    Err(error) => self.wait_out(&mut backoff, Hindrance::Log(error)).await?,
                }
                continue;
            };
            match self.batch(member.as_mut(), &mut processor, &mut limit).await {
                Ok(()) => backoff = Backoff::default(),
                Err(hindrance) => {
                    // A member that was fenced is still one: leaving would move everybody's partitions.
                    if member.rewind().await.is_err() {
                        consumer = None;
                    }
                    self.wait_out(&mut backoff, hindrance).await?;
                    continue;
                }
            }
        }
        Ok(())
    }

    /// Polls, evaluates and commits one batch.
    async fn batch(
        &self,
        consumer: &mut dyn Consumer,
        processor: &mut Option<Processor>,
        limit: &mut usize,
    ) -> Result<(), Hindrance> {
        let polled = tokio::select! {
            () = self.stop.cancelled() => return Ok(()),
            polled = consumer.poll(*limit, self.options.poll_timeout) => polled.map_err(Hindrance::Log)?,
        };
        if polled.is_empty() {
            return Ok(());
        }
        let (started, count) = (Instant::now(), polled.len());
        let outputs = evaluate(processor, polled).await.map_err(Hindrance::Functions)?;
        let evaluated = started.elapsed();
        let told = Tally::of(&outputs);
        if let Err(error) = consumer.commit(outputs).await {
            // It may have been too much for brokers that are slow now.
            *limit = (*limit / 2).max(1);
            return Err(Hindrance::Log(error));
        }
        told.tell(self.pipeline.name(), count, evaluated, started.elapsed());
        *limit = next_limit(*limit, count, evaluated, &self.options);
        Ok(())
    }

    /// Waits before the next try, or gives up on what will not pass.
    async fn wait_out(&self, backoff: &mut Backoff, hindrance: Hindrance) -> Result<(), RunError> {
        let (pipeline, kind) = (self.pipeline.name(), hindrance.kind());
        let reason = match hindrance {
            Hindrance::Log(error @ (LogError::Damaged(_) | LogError::NoPartition { .. })) => {
                return Err(RunError::Log { pipeline: pipeline.to_owned(), error });
            }
            Hindrance::Log(error) => error.to_string(),
            Hindrance::Functions(error) => error.to_string(),
        };
        let labels = [("pipeline", pipeline.to_owned()), ("kind", kind.to_owned())];
        counter!("millrace_pipelines_retries_total", &labels).increment(1);
        let wait = backoff.next();
        warn!(pipeline, reason, wait_ms = wait.as_millis() as u64, "batch is tried again");
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Ok(())
    }
}

/// Evaluates on a thread that may be kept busy: the stage functions are heavy on the CPU.
async fn evaluate(processor: &mut Option<Processor>, records: Vec<Record>) -> Result<Vec<NewRecord>, Unavailable> {
    let mut taken = processor.take().expect("it is put back below");
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        let outputs = runtime.block_on(taken.process(&records));
        (taken, outputs)
    });
    let (taken, outputs) = work.await.expect("panics of stages are caught within");
    *processor = Some(taken);
    outputs
}

/// Smaller batches are not faster: what a batch costs by itself, whatever is in it, would be all that is done.
const SMALLEST_BATCH: usize = 16;

/// Halves towards, or doubles up to, what takes about the target time.
fn next_limit(limit: usize, count: usize, took: Duration, options: &Options) -> usize {
    let target = options.target_batch.as_secs_f64();
    let took = took.as_secs_f64();
    if took > target * 1.5 {
        let fitting = count as f64 * target / took;
        return (fitting as usize).clamp(SMALLEST_BATCH.min(options.max_records).max(1), options.max_records.max(1));
    }
    if count == limit && took < target / 2.0 { (limit * 2).min(options.max_records.max(1)) } else { limit }
}

#[derive(Default)]
struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let next = self.last.map_or(FIRST_BACKOFF, |last| (last * 2).min(LONGEST_BACKOFF));
        *self.last.insert(next)
    }
}

/// How many records go where: by topic, dead letters by stage.
struct Tally {
    topics: HashMap<Topic, u64>,
    dead_letters: HashMap<String, u64>,
}

impl Tally {
    fn of(outputs: &[NewRecord]) -> Self {
        let mut tally = Self { topics: HashMap::new(), dead_letters: HashMap::new() };
        for output in outputs {
            *tally.topics.entry(output.topic).or_default() += 1;
            if output.topic == Topic::DeadLetter {
                *tally.dead_letters.entry(output.key.clone()).or_default() += 1;
            }
        }
        tally
    }

    fn tell(self, pipeline: &str, records: usize, evaluated: Duration, whole: Duration) {
        let pipeline = pipeline.to_owned();
        counter!("millrace_pipelines_records_in_total", "pipeline" => pipeline.clone()).increment(records as u64);
        for (topic, count) in self.topics {
            let labels = [("pipeline", pipeline.clone()), ("topic", topic.name().to_owned())];
            counter!("millrace_pipelines_records_out_total", &labels).increment(count);
        }
        for (stage, count) in self.dead_letters {
            let labels = [("pipeline", pipeline.clone()), ("stage", stage)];
            counter!("millrace_pipelines_dead_letters_total", &labels).increment(count);
        }
        histogram!("millrace_pipelines_batch_records", "pipeline" => pipeline.clone()).record(records as f64);
        histogram!("millrace_pipelines_evaluation_seconds", "pipeline" => pipeline.clone()).record(evaluated);
        histogram!("millrace_pipelines_batch_seconds", "pipeline" => pipeline).record(whole);
    }
}
