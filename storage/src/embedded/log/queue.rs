use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::Topic;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::embedded::pressure::Room;
use crate::log::{LogError, NewRecord, Position};

/// One caller's records, and the step of a group that goes with them.
pub(crate) struct Request {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) advance: Option<Advance>,
    /// Closed when the caller has gone; then nothing is written for it.
    pub(crate) answer: oneshot::Sender<Result<Vec<Position>, LogError>>,
    pub(crate) _room: Room,
}

impl Request {
    pub(crate) fn bytes(&self) -> usize {
        cost(&self.records)
    }
}

/// Bytes that records take while they wait.
pub(crate) fn cost(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.key.len() + record.value.len() + 64).sum()
}

/// Moves a group's positions, when the member still owns the partitions.
pub(crate) struct Advance {
    pub(crate) group: Arc<str>,
    pub(crate) topic: Topic,
    pub(crate) moves: Vec<Move>,
}

pub(crate) struct Move {
    pub(crate) partition: u32,
    /// The ownership under which the records were polled.
    pub(crate) tenure: u64,
    pub(crate) to: u64,
}

/// Requests on their way to the committer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    is_closed: bool,
}

impl Queue {
    /// Gives the request back when the log is closed.
    pub(crate) fn push(&self, request: Request) -> Result<(), LogError> {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return Err(LogError::Unavailable("it is shutting down".to_owned()));
        }
        waiting.requests.push_back(request);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits up to `timeout` for requests and takes all that wait, up to `max_bytes` (at least one). `None` when the
    /// queue is closed and empty.
    pub(crate) fn take(&self, max_bytes: usize, timeout: Duration) -> Option<Vec<Request>> {
        let mut waiting = self.waiting.lock();
        if waiting.requests.is_empty() && !waiting.is_closed {
            self.wake.wait_for(&mut waiting, timeout);
        }
        if waiting.requests.is_empty() && waiting.is_closed {
            return None;
        }
        let mut bytes = 0;
        let mut taken = Vec::with_capacity(waiting.requests.len());
        while bytes < max_bytes {
            let Some(request) = waiting.requests.pop_front() else { break };
            bytes += request.bytes();
            taken.push(request);
        }
        Some(taken)
    }

    #[cfg(test)]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.lock().requests.iter().map(Request::bytes).sum()
    }

    pub(crate) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().is_closed
    }
}
