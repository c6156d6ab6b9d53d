//! The one thread that writes packs: it appends all that wait, syncs once, and answers.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::PackOptions;
use super::disk::{Disk, PackFile};
use crate::blob::{BlobError, BodyRef};
use crate::embedded::pressure::{Pressure, Room, SpaceGuard};
use crate::packs::{self, entry};

const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How often a failing disk is looked at again.
const TICK: Duration = Duration::from_millis(250);

pub(crate) struct Request {
    /// Framed ([`entry::encode`]).
    pub(crate) entry: Vec<u8>,
    /// Closed when the caller has gone.
    pub(crate) answer: oneshot::Sender<Result<BodyRef, BlobError>>,
    pub(crate) _room: Room,
}

/// Entries on their way to the writer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<(VecDeque<Request>, bool)>,
    wake: Condvar,
}

impl Queue {
    pub(crate) fn push(&self, request: Request) -> Result<(), BlobError> {
        let mut waiting = self.waiting.lock();
        if waiting.1 {
            return Err(BlobError::Unavailable("it is shutting down".to_owned()));
        }
        waiting.0.push_back(request);
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    fn take(&self) -> Option<Vec<Request>> {
        let mut waiting = self.waiting.lock();
        if waiting.0.is_empty() && !waiting.1 {
            self.wake.wait_for(&mut waiting, TICK);
        }
        if waiting.0.is_empty() && waiting.1 {
            return None;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_BATCH_BYTES {
            let Some(request) = waiting.0.pop_front() else { break };
            bytes += request.entry.len();
            taken.push(request);
        }
        Some(taken)
    }

    pub(crate) fn close(&self) {
        self.waiting.lock().1 = true;
        self.wake.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.waiting.lock().1
    }
}

pub(crate) struct Writer {
    dir: PathBuf,
    max_pack_bytes: u64,
    disk: Box<dyn Disk>,
    pressure: Arc<Pressure>,
    queue: Arc<Queue>,
    space: SpaceGuard,
    pack: Option<Pack>,
}

struct Pack {
    name: String,
    file: Box<dyn PackFile>,
    /// Of what is synced.
    len: u64,
}

impl Writer {
    pub(crate) fn new(
        dir: &Path,
        options: &PackOptions,
        disk: Box<dyn Disk>,
        pressure: Arc<Pressure>,
        queue: Arc<Queue>,
    ) -> Self {
        let space = SpaceGuard::new(dir, options.min_free_bytes);
        Self { dir: dir.to_owned(), max_pack_bytes: options.max_pack_bytes, disk, pressure, queue, space, pack: None }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        while let Some(mut requests) = self.queue.take() {
            if let Err(reason) = self.space.check() {
                self.pressure.fail(&reason);
                refuse(requests, &reason);
                continue;
            }
            if self.pressure.is_failing() && !self.queue.is_closed() {
                self.pressure.recover();
            }
            requests.retain(|request| !request.answer.is_closed());
            if !requests.is_empty() {
                self.write(requests);
            }
        }
    }

    fn write(&mut self, requests: Vec<Request>) {
        self.pressure.begin();
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.append(&requests)));
        self.pressure.end();
        match outcome {
            Ok(Ok(references)) => {
                metrics::histogram!("millrace_packs_sync_seconds").record(started.elapsed().as_secs_f64());
                metrics::counter!("millrace_packs_bodies_total").increment(references.len() as u64);
                for (request, reference) in requests.into_iter().zip(references) {
                    // The caller may have stopped waiting; then nothing refers to the entry.
                    let _ = request.answer.send(Ok(reference));
                }
            }
            Ok(Err(error)) => self.give_up(requests, "disk", format!("the disk says: {error}")),
            Err(_) => self.give_up(requests, "panic", "writing it failed in a way that should not happen".to_owned()),
        }
    }

    /// Appends all entries and syncs once.
    fn append(&mut self, requests: &[Request]) -> io::Result<Vec<BodyRef>> {
        let mut pack = match self.pack.take() {
            Some(pack) => pack,
            None => self.begin_pack()?,
        };
        let mut end = pack.len;
        let mut bytes = Vec::with_capacity(requests.iter().map(|request| request.entry.len()).sum());
        if end == 0 {
            bytes.extend_from_slice(&entry::pack_header());
            end = bytes.len() as u64;
        }
        let mut references = Vec::with_capacity(requests.len());
        for request in requests {
            let length = request.entry.len() as u64;
            references.push(BodyRef { pack: pack.name.clone(), offset: end, length });
            bytes.extend_from_slice(&request.entry);
            end += length;
        }
        let written = pack.file.append(&bytes).and_then(|()| pack.file.sync());
        if let Err(error) = written {
            // Tidies up what it can. The pack is not written to again: after a failed sync nobody knows what of the
            // file is on disk. What it holds already is synced and stays readable.
            let _ = match pack.len {
                0 => self.disk.remove(&self.dir.join(&pack.name)),
                synced => pack.file.truncate(synced),
            };
            return Err(error);
        }
        pack.len = end;
        if pack.len < self.max_pack_bytes {
            self.pack = Some(pack);
        }
        Ok(references)
    }

    fn begin_pack(&self) -> io::Result<Pack> {
        let name = packs::new_name();
        let file = self.disk.create(&self.dir.join(&name))?;
        Ok(Pack { name, file, len: 0 })
    }

    fn give_up(&mut self, requests: Vec<Request>, kind: &'static str, reason: String) {
        tracing::error!(reason, "bodies cannot be stored");
        metrics::counter!("millrace_packs_failures_total", "kind" => kind).increment(1);
        self.pack = None;
        self.pressure.fail(&reason);
        refuse(requests, &reason);
    }
}

fn refuse(requests: Vec<Request>, reason: &str) {
    for request in requests {
        let _ = request.answer.send(Err(BlobError::Unavailable(reason.to_owned())));
    }
}
