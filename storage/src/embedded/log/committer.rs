//! The one thread that writes the log: it takes everything that waits, writes one batch, syncs it once, and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::OwnedWriteBatch;
use millrace_schemas::topic::partition_of;

use super::claims::Boarded;
use super::groups::position_key;
use super::queue::Request;
use super::repair::Repair;
use super::shared::Shared;
use super::store::{End, Store};
use super::value;
use crate::embedded::pressure::SpaceGuard;
use crate::log::{LogError, NewRecord, Position};

/// Bytes of requests in one batch; enough to make a sync cheap, little enough to keep the wait short.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How often claims are saved, and the disk is looked at, when nobody appends.
const TICK: Duration = Duration::from_millis(250);

pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// Ends of the partitions on disk.
    ends: Vec<End>,
    space: SpaceGuard,
    repair: Option<Repair>,
}

/// What goes into one batch.
struct Flight {
    accepted: Vec<(Request, Vec<Position>)>,
    ends: Vec<End>,
    claims: Option<Boarded>,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let space = SpaceGuard::new(&shared.dir, shared.options.min_free_bytes);
        Self { ends: shared.ends(), shared, space, repair: None }
    }

    /// Runs until the queue is closed and empty; then lets go of the database.
    pub(crate) fn run(mut self) {
        while let Some(requests) = self.shared.queue.take(MAX_BATCH_BYTES, TICK) {
            if let Err(reason) = self.ready() {
                self.shared.pressure.fail(&reason);
                refuse(requests, &reason);
                continue;
            }
            if self.shared.pressure.is_failing() && !self.shared.queue.is_closed() {
                tracing::info!("the log takes records again");
                self.shared.pressure.recover();
            }
            self.commit(requests);
        }
        self.commit(Vec::new());
        self.shared.set_store(None);
    }

    /// Whether a batch can be written; tries to mend what is broken.
    fn ready(&mut self) -> Result<(), String> {
        if let Some(repair) = &mut self.repair {
            let store = catch_unwind(AssertUnwindSafe(|| repair.attempt(&self.shared, &self.ends)))
                .unwrap_or_else(|_| Err("opening the log again failed".to_owned()))?;
            self.shared.set_store(Some(store));
            self.repair = None;
        }
        self.space.check()
    }

    fn commit(&mut self, requests: Vec<Request>) {
        if self.repair.is_some() || (requests.is_empty() && self.shared.claims.is_empty()) {
            return refuse(requests, "it is shutting down");
        }
        let Ok(store) = self.shared.store() else {
            return refuse(requests, "it is shutting down");
        };
        let mut flight = Flight { accepted: Vec::new(), ends: self.ends.clone(), claims: None };
        self.shared.pressure.begin();
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let batch = self.load(&store, requests, &mut flight);
            self.make_room(&store, &flight)?;
            store.commit(batch)
        }))
        .unwrap_or_else(|_| Err("writing it failed in a way that should not happen".to_owned()));
        self.shared.pressure.end();
        match outcome {
            Ok(()) => self.land(flight, started.elapsed()),
            Err(reason) => self.crash(store, flight, reason),
        }
    }

    /// Gives every record its offset and puts it into a batch, with the positions and claims that go with it.
    fn load(&self, store: &Store, requests: Vec<Request>, flight: &mut Flight) -> OwnedWriteBatch {
        let mut batch = store.database.batch();
        let now_us = self.shared.options.clock.now_us();
        for mut request in requests {
            if request.answer.is_closed() {
                continue;
            }
            if let Some(advance) = &request.advance {
                if let Err(error) = self.shared.groups.begin(advance) {
                    let _ = request.answer.send(Err(error));
                    continue;
                }
                for step in &advance.moves {
                    let key = position_key(&advance.group, advance.topic, step.partition);
                    batch.insert(&store.positions, key, step.to.to_be_bytes());
                }
            }
            let records = std::mem::take(&mut request.records);
            let positions =
                records.iter().map(|record| self.place(store, &mut batch, flight, record, now_us)).collect();
            flight.accepted.push((request, positions));
        }
        flight.claims = Some(self.shared.claims.board(store, &mut batch));
        batch
    }

    fn place(
        &self,
        store: &Store,
        batch: &mut OwnedWriteBatch,
        flight: &mut Flight,
        record: &NewRecord,
        now_us: i64,
    ) -> Position {
        let layout = &self.shared.layout;
        let partition = partition_of(&record.key, layout.partitions(record.topic));
        let slot = layout.slot(record.topic, partition).expect("partition_of stays below the number of partitions");
        let end = &mut flight.ends[slot];
        let offset = end.next;
        // Times never run backwards within a partition, so that retention can search by time.
        end.last_at_us = end.last_at_us.max(now_us);
        batch.insert(
            &store.partitions[slot],
            offset.to_be_bytes(),
            value::encode(end.last_at_us, end.bytes, &record.key, &record.value),
        );
        end.next += 1;
        end.bytes += (record.key.len() + record.value.len()) as u64;
        Position { topic: record.topic, partition, offset }
    }

    fn make_room(&self, store: &Store, flight: &Flight) -> Result<(), String> {
        let touched = store.partitions.iter().zip(self.ends.iter().zip(&flight.ends));
        let touched = touched.filter(|(_, (before, after))| before.next != after.next).map(|(keyspace, _)| keyspace);
        store.make_room(touched.chain([&store.positions, &store.claims, &store.claim_times]))
    }

    fn land(&mut self, flight: Flight, took: Duration) {
        self.ends = flight.ends;
        self.shared.publish(&self.ends);
        if let Some(claims) = flight.claims {
            self.shared.claims.saved(claims);
        }
        metrics::histogram!("millrace_log_commit_seconds").record(took.as_secs_f64());
        metrics::histogram!("millrace_log_commit_requests").record(flight.accepted.len() as f64);
        for (request, positions) in flight.accepted {
            if let Some(advance) = &request.advance {
                self.shared.groups.end(advance);
            }
            metrics::counter!("millrace_log_records_total").increment(positions.len() as u64);
            // The caller may have stopped waiting.
            let _ = request.answer.send(Ok(positions));
        }
    }

    /// Nothing of the batch counts. What part of it is on disk is unknown, so the database is opened anew.
    fn crash(&mut self, store: Arc<Store>, flight: Flight, reason: String) {
        tracing::error!(reason, "the log cannot be written, it will be opened again");
        metrics::counter!("millrace_log_failures_total").increment(1);
        self.shared.pressure.fail(&reason);
        self.shared.set_store(None);
        self.repair = Some(Repair::of(store));
        self.shared.groups.abort_all();
        if let Some(claims) = flight.claims {
            self.shared.claims.put_back(claims);
        }
        for (request, _) in flight.accepted {
            let _ = request.answer.send(Err(LogError::Unavailable(reason.clone())));
        }
    }
}

fn refuse(requests: Vec<Request>, reason: &str) {
    for request in requests {
        let _ = request.answer.send(Err(LogError::Unavailable(reason.to_owned())));
    }
}
