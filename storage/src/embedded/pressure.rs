//! What keeps callers from waiting without bound: a budget of bytes that may wait, a look at the free space, and a
//! watch over how long the disk has been silent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget; small requests count as one.
const UNIT_BYTES: usize = 256;

/// Lets requests in until too many bytes wait or the disk fails, and says why not.
pub(crate) struct Pressure {
    room: Arc<Semaphore>,
    units: u32,
    stall_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why nothing can be written.
    failing: Option<String>,
    /// When the disk was given the batch that it has not answered yet.
    busy_since: Option<Instant>,
}

/// Bytes that a waiting request takes of the budget; given back when dropped.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Pressure {
    pub(crate) fn new(max_waiting_bytes: usize, stall_timeout: Duration) -> Self {
        let units = u32::try_from(max_waiting_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX / 2).max(1);
        Self { room: Arc::new(Semaphore::new(units as usize)), units, stall_timeout, state: Mutex::default() }
    }

    /// Waits for room for `bytes`, at most the stall timeout. A request beyond the whole budget takes all of it.
    pub(crate) async fn enter(&self, bytes: usize) -> Result<Room, String> {
        self.check()?;
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units);
        let acquire = self.room.clone().acquire_many_owned(units);
        match tokio::time::timeout(self.stall_timeout, acquire).await {
            Ok(Ok(permit)) => Ok(Room { _permit: permit }),
            Ok(Err(_)) => Err("it is shutting down".to_owned()),
            Err(_) => Err("too many writes are waiting for the disk".to_owned()),
        }
    }

    /// Says at once why a write would fail.
    pub(crate) fn check(&self) -> Result<(), String> {
        let state = self.state.lock();
        if let Some(reason) = &state.failing {
            return Err(reason.clone());
        }
        match state.busy_since {
            Some(since) if since.elapsed() > self.stall_timeout => Err(self.silence()),
            _ => Ok(()),
        }
    }

    pub(crate) fn silence(&self) -> String {
        format!("the disk has not answered for {} s", self.stall_timeout.as_secs_f32())
    }

    pub(crate) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    pub(crate) fn fail(&self, reason: &str) {
        self.state.lock().failing = Some(reason.to_owned());
    }

    pub(crate) fn recover(&self) {
        self.state.lock().failing = None;
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.state.lock().failing.is_some()
    }

    pub(crate) fn begin(&self) {
        self.state.lock().busy_since = Some(Instant::now());
    }

    pub(crate) fn end(&self) {
        self.state.lock().busy_since = None;
    }

    /// Refuses all who come and all who wait for room.
    pub(crate) fn close(&self, reason: &str) {
        self.fail(reason);
        self.room.close();
    }
}

/// Looks at the free space of a directory's file system, not more often than every 250 ms.
pub(crate) struct SpaceGuard {
    dir: PathBuf,
    min_free_bytes: u64,
    looked: Option<Instant>,
    verdict: Result<(), String>,
}

impl SpaceGuard {
    pub(crate) fn new(dir: &Path, min_free_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), min_free_bytes, looked: None, verdict: Ok(()) }
    }

    pub(crate) fn check(&mut self) -> Result<(), String> {
        if self.looked.is_none_or(|at| at.elapsed() > Duration::from_millis(250)) {
            self.looked = Some(Instant::now());
            self.verdict = match fs4::available_space(&self.dir) {
                Ok(free) if free < self.min_free_bytes => Err(format!(
                    "the disk is full: {free} bytes are free and {} are kept in reserve",
                    self.min_free_bytes
                )),
                // A file system that cannot tell its free space is not full for that.
                _ => Ok(()),
            };
        }
        self.verdict.clone()
    }
}
