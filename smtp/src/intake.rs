//! A message while it is received: its bytes behind our trace headers, its digest, and why it is refused if it is.

use bytes::Bytes;

use crate::budget::{Budget, Hold};
use crate::reply::{self, Reply};
use crate::trace;

/// Content is hashed in steps of this size while it comes, and in one go when it is smaller.
const DIGEST_STEP_BYTES: usize = 64 * 1024;
/// Room beyond the largest message, for the piece that shows it to be too large.
const SLACK_BYTES: usize = 64 * 1024;

pub(crate) struct Intake {
    message_id: String,
    bytes: Vec<u8>,
    hold: Hold,
    trace_bytes: usize,
    max_bytes: usize,
    hasher: Option<Box<blake3::Hasher>>,
    hashed: usize,
    refusal: Option<Reply>,
    drained: usize,
}

/// A message that was received whole.
pub(crate) struct Taken {
    pub(crate) message_id: String,
    /// Trace headers, then what the client sent.
    pub(crate) body: Bytes,
    pub(crate) trace_bytes: usize,
    /// BLAKE3 of what the client sent, in hexadecimal.
    pub(crate) digest: String,
}

/// A body that gives its memory back to the budget when the last reader lets go of it, storage included.
struct HeldBody {
    bytes: Vec<u8>,
    _hold: Hold,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Intake {
    pub(crate) fn new(message_id: String, trace: String, max_bytes: usize) -> Self {
        let bytes = trace.into_bytes();
        Self {
            message_id,
            trace_bytes: bytes.len(),
            bytes,
            hold: Hold::none(),
            max_bytes,
            hasher: None,
            hashed: 0,
            refusal: None,
            drained: 0,
        }
    }

    /// Makes room for `more` bytes, in memory that is ours: it grows with what has been received, so that a slow
    /// client holds little. The message is refused when there is none after `wait`.
    pub(crate) async fn make_room(&mut self, more: usize, budget: &Budget, wait: std::time::Duration) {
        let needed = self.bytes.len() + more;
        if self.refusal.is_some() || (needed <= self.bytes.capacity() && self.has_hold()) {
            return;
        }
        let most = self.trace_bytes + self.max_bytes + SLACK_BYTES;
        let capacity = (self.bytes.capacity() * 2).min(most).max(needed);
        if budget.grow(&mut self.hold, capacity, wait).await {
            self.bytes.reserve_exact(capacity - self.bytes.len());
        } else {
            self.refuse(reply::NO_MEMORY);
        }
    }

    fn has_hold(&self) -> bool {
        self.hold.bytes() > 0
    }

    /// Adds content, for which there is room. Content of a refused message is counted and dropped.
    pub(crate) fn append(&mut self, content: &[u8]) {
        if self.refusal.is_some() {
            self.drained += content.len();
            return;
        }
        self.bytes.extend_from_slice(content);
        if self.content_bytes() > self.max_bytes {
            self.refuse(reply::MESSAGE_TOO_BIG);
        }
    }

    /// Hashes what has gathered. Called once a piece, not once a line.
    pub(crate) fn digest(&mut self) {
        let from = self.trace_bytes + self.hashed;
        if self.refusal.is_none() && self.bytes.len() - from >= DIGEST_STEP_BYTES {
            self.hasher.get_or_insert_default().update(&self.bytes[from..]);
            self.hashed = self.content_bytes();
        }
    }

    /// Refuses the message and frees its memory; the first reason stays.
    pub(crate) fn refuse(&mut self, reply: Reply) {
        if self.refusal.is_none() {
            self.bytes = Vec::new();
            self.hold = Hold::none();
            self.refusal = Some(reply);
        }
    }

    pub(crate) fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    /// Bytes that came after the message had been refused.
    pub(crate) fn drained(&self) -> usize {
        self.drained
    }

    /// Bytes of content so far.
    pub(crate) fn content_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.trace_bytes)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// The reply when it was refused or loops.
    pub(crate) fn finish(mut self, max_received_headers: usize) -> Result<Taken, Reply> {
        if let Some(reply) = self.refusal {
            return Err(reply);
        }
        let content = &self.bytes[self.trace_bytes..];
        if trace::received_headers(content, max_received_headers + 1) > max_received_headers {
            return Err(reply::ROUTING_LOOP);
        }
        let digest = match &mut self.hasher {
            Some(hasher) => hasher.update(&content[self.hashed..]).finalize(),
            None => blake3::hash(content),
        };
        Ok(Taken {
            message_id: self.message_id,
            trace_bytes: self.trace_bytes,
            digest: digest.to_hex().to_string(),
            body: Bytes::from_owner(HeldBody { bytes: self.bytes, _hold: self.hold }),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn intake_of(content: &[u8], step: usize, max_bytes: usize, budget: &Budget) -> Intake {
        let mut intake = Intake::new("id".into(), "Trace: x\r\n".into(), max_bytes);
        for piece in content.chunks(step) {
            intake.make_room(piece.len(), budget, Duration::from_millis(1)).await;
            intake.append(piece);
            intake.digest();
        }
        intake
    }

    #[tokio::test]
    async fn the_digest_is_of_the_content_alone_in_any_pieces() {
        let budget = Budget::new(1 << 30);
        let content: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        for step in [1000, 70_000, 300_000] {
            let taken =
                intake_of(&content, step, 1 << 20, &budget).await.finish(50).map_err(|reply| reply.code).unwrap();
            assert_eq!(taken.digest, blake3::hash(&content).to_hex().as_str());
            assert_eq!(&taken.body[taken.trace_bytes..], content);
            assert_eq!(&taken.body[..taken.trace_bytes], b"Trace: x\r\n");
        }
    }

    #[tokio::test]
    async fn a_message_over_the_limit_lets_its_memory_go() {
        let budget = Budget::new(1 << 20);
        let intake = intake_of(&[b'a'; 5000], 100, 4999, &budget).await;
        assert_eq!(intake.refusal().unwrap().code, 552);
        assert_eq!((intake.bytes.capacity(), intake.hold.bytes()), (0, 0));
        assert!(intake_of(&[b'a'; 5000], 100, 5000, &budget).await.refusal().is_none());
    }

    #[tokio::test]
    async fn a_body_holds_its_memory_until_storage_lets_go() {
        let budget = Budget::new(16 * 1024);
        let taken = intake_of(&[b'a'; 10_000], 10_000, 1 << 20, &budget).await.finish(50).map_err(|_| ()).unwrap();
        let kept = taken.body.clone();
        drop(taken);
        assert_eq!(intake_of(&[b'b'; 10_000], 10_000, 1 << 20, &budget).await.refusal(), Some(&reply::NO_MEMORY));
        drop(kept);
        assert!(intake_of(&[b'b'; 10_000], 10_000, 1 << 20, &budget).await.refusal().is_none());
    }
}
