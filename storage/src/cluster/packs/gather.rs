//! Bodies of one pack that are wanted at the same moment, read with few requests: those who screen and index want what
//! came in together, and each would cost a request.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::blob::BodyRef;
use crate::packs::entry::MAX_ENTRY_BYTES;

/// How long the first waits for others.
const DELAY: Duration = Duration::from_millis(1);
/// What is read for nothing rather than asking again.
const MAX_GAP_BYTES: u64 = 32 * 1024;
const MAX_RUN_BYTES: u64 = 4 * 1024 * 1024;

/// Who waits for the bytes of a reference; `None` tells to ask for it alone.
struct Wanted {
    reference: BodyRef,
    answer: oneshot::Sender<Option<Bytes>>,
}

/// By pack, who waits for the next requests.
pub(super) struct Gathering {
    store: Arc<dyn ObjectStore>,
    timeout: Duration,
    waiting: Mutex<HashMap<String, Vec<Wanted>>>,
}

impl Gathering {
    pub(super) fn new(store: Arc<dyn ObjectStore>, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { store, timeout, waiting: Mutex::default() })
    }

    /// The bytes at a place of `object`, when they came together with others'. `None` when nobody else wanted its
    /// neighbours, or the request failed.
    pub(super) async fn read(self: &Arc<Self>, object: &Path, reference: &BodyRef) -> Option<Bytes> {
        if reference.length == 0 || reference.length > MAX_ENTRY_BYTES {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            let pack = waiting.entry(reference.pack.clone()).or_default();
            pack.push(Wanted { reference: reference.clone(), answer });
            pack.len() == 1
        };
        if is_first {
            // On its own, since the others wait for it also when the first has given up.
            let (gathering, object, pack) = (self.clone(), object.clone(), reference.pack.clone());
            tokio::spawn(async move {
                tokio::time::sleep(DELAY).await;
                let wanted = gathering.waiting.lock().remove(&pack).unwrap_or_default();
                futures::future::join_all(runs(wanted).into_iter().map(|run| gathering.fetch(&object, run))).await;
            });
        }
        receiver.await.ok().flatten()
    }

    async fn fetch(&self, object: &Path, run: Vec<Wanted>) {
        let Some(range) = span(&run).filter(|_| run.len() > 1) else {
            return run.into_iter().for_each(|wanted| drop(wanted.answer.send(None)));
        };
        let begin = range.start;
        let fetched = tokio::time::timeout(self.timeout, self.store.get_range(object, range)).await;
        let bytes = fetched.ok().and_then(Result::ok);
        for wanted in run {
            let from = usize::try_from(wanted.reference.offset - begin).unwrap_or(usize::MAX);
            let to = from.saturating_add(usize::try_from(wanted.reference.length).unwrap_or(usize::MAX));
            let part = bytes.as_ref().filter(|bytes| to <= bytes.len()).map(|bytes| bytes.slice(from..to));
            // Who wanted it may have stopped waiting.
            let _ = wanted.answer.send(part);
        }
    }
}

/// Parts what is wanted of one pack into neighbours, each to be read with one request.
fn runs(mut wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    wanted.sort_by_key(|wanted| wanted.reference.offset);
    let mut runs: Vec<Vec<Wanted>> = Vec::new();
    for one in wanted {
        match runs.last_mut() {
            Some(run) if joins(run, &one.reference) => run.push(one),
            _ => runs.push(vec![one]),
        }
    }
    runs
}

fn joins(run: &[Wanted], reference: &BodyRef) -> bool {
    let Some(Range { start, end }) = span(run) else { return false };
    let to = reference.offset.saturating_add(reference.length);
    reference.offset <= end.saturating_add(MAX_GAP_BYTES) && to.max(end) - start <= MAX_RUN_BYTES
}

/// From the first byte to the last; they are sorted by their first.
fn span(run: &[Wanted]) -> Option<Range<u64>> {
    let start = run.first()?.reference.offset;
    let end = run.iter().map(|wanted| wanted.reference.offset.saturating_add(wanted.reference.length)).max()?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(places: &[(u64, u64)]) -> Vec<Wanted> {
        let wanted = |&(offset, length): &(u64, u64)| Wanted {
            reference: BodyRef { pack: "p".to_owned(), offset, length },
            answer: oneshot::channel().0,
        };
        places.iter().map(wanted).collect()
    }

    #[test]
    fn neighbours_are_read_together_up_to_a_size() {
        let spans = |places: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let ends = |run: &Vec<Wanted>| span(run).map(|span| (span.start, span.end)).unwrap();
            runs(wanted(places)).iter().map(ends).collect()
        };
        assert_eq!(spans(&[(300, 50), (8, 100), (108, 192)]), [(8, 350)]);
        assert_eq!(spans(&[(8, 100), (8, 100)]), [(8, 108)], "the same twice");
        assert_eq!(spans(&[(0, 10), (10 + MAX_GAP_BYTES, 10)]).len(), 1);
        assert_eq!(spans(&[(0, 10), (11 + MAX_GAP_BYTES, 10)]).len(), 2, "too far");
        assert_eq!(spans(&[(0, MAX_RUN_BYTES), (MAX_RUN_BYTES, 1)]).len(), 2, "too large");
        assert_eq!(spans(&[(u64::MAX - 5, 100), (u64::MAX - 2, 100)]).len(), 1, "nonsense does not overflow");
    }

    #[tokio::test]
    async fn each_gets_its_own_bytes_and_who_is_alone_none() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let object = Path::from("p");
        store.put(&object, Bytes::from_iter(0..=255_u8).into()).await.unwrap();
        let gathering = Gathering::new(store, Duration::from_secs(5));
        let reference = |offset: u64| BodyRef { pack: "p".to_owned(), offset, length: 3 };
        let places = [250, 9, 12, 100, 254];
        let references: Vec<BodyRef> = places.map(reference).into();
        let read = references.iter().map(|reference| gathering.read(&object, reference));
        let got = futures::future::join_all(read).await;
        for (offset, got) in [250_u8, 9, 12, 100].into_iter().zip(&got) {
            assert_eq!(got.as_deref(), Some(&[offset, offset + 1, offset + 2][..]));
        }
        assert_eq!(got[4], None, "it would end behind the object");
        assert_eq!(gathering.read(&object, &reference(9)).await, None, "one alone is asked for with all patience");
        assert!(gathering.waiting.lock().is_empty());
    }
}
