//! BDAT: a message in chunks of given size (RFC 3030).

use tokio::time::Instant;

use crate::data_scanner::LineEnds;
use crate::intake::Intake;
use crate::reply::{self, Reply};
use crate::session::{Session, Step};

/// A message of which some chunks have come.
pub(super) struct Chunks {
    intake: Intake,
    line_ends: LineEnds,
}

impl Session {
    /// The chunk follows its command whatever we answer, so it is always read. A chunk that is refused ends the
    /// transaction: those that the client has sent after it find none and are refused too.
    pub(super) async fn bdat(&mut self, size_bytes: u64, is_last: bool) -> Step {
        let has_recipients = self.transaction.as_ref().map(|transaction| !transaction.forward_path.is_empty());
        let (mut transaction, mut chunks) = match (has_recipients, self.transaction.take()) {
            (Some(true), Some(mut transaction)) => {
                let chunks = transaction
                    .chunks
                    .take()
                    .unwrap_or_else(|| Chunks { intake: self.begin(&transaction), line_ends: LineEnds::default() });
                (transaction, chunks)
            }
            (has_recipients, transaction) => {
                self.transaction = transaction;
                let reply = if has_recipients.is_some() { reply::NO_RECIPIENTS } else { reply::NO_MAIL };
                return self.discard(size_bytes, reply).await;
            }
        };
        let so_far = chunks.intake.content_bytes() as u64;
        if so_far.saturating_add(size_bytes) > self.reception.options.max_message_bytes as u64 {
            return self.discard(size_bytes, reply::MESSAGE_TOO_BIG).await;
        }
        self.read_chunk(size_bytes, &mut chunks).await?;
        if let Some(reply) = chunks.intake.refusal() {
            return Ok(reply.clone());
        }
        if is_last && chunks.line_ends.has_bare() {
            return Ok(reply::BARE_CR_OR_LF);
        }
        if is_last {
            return Ok(self.complete(transaction, chunks.intake).await);
        }
        transaction.chunks = Some(chunks);
        self.transaction = Some(transaction);
        Ok(Reply::with(250, "2.0.0", format!("{size_bytes} octets received")))
    }

    async fn read_chunk(&mut self, size_bytes: u64, chunks: &mut Chunks) -> Result<(), super::End> {
        let reception = self.reception.clone();
        let timeouts = &reception.options.timeouts;
        self.wire.widen();
        let mut left = size_bytes;
        while left > 0 {
            if self.wire.buffered().is_empty() {
                self.wire.fill(Instant::now() + timeouts.data_block).await?;
            }
            let length = self.wire.buffered().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            chunks.intake.make_room(length, &reception.budget, timeouts.memory).await;
            let piece = &self.wire.buffered()[..length];
            chunks.intake.append(piece);
            chunks.line_ends.feed(piece);
            chunks.intake.digest();
            self.wire.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Reads over a chunk, and answers `reply`; a client that wants to send a great deal for nothing has to go.
    async fn discard(&mut self, size_bytes: u64, reply: Reply) -> Step {
        let options = &self.reception.options;
        if size_bytes > options.limits.max_drained_bytes as u64 {
            return self.refuse(reply).map(|never| match never {});
        }
        self.wire.widen();
        let mut left = usize::try_from(size_bytes).unwrap_or(usize::MAX);
        while left > 0 {
            if self.wire.buffered().is_empty() {
                self.wire.fill(Instant::now() + options.timeouts.data_block).await?;
            }
            let length = self.wire.buffered().len().min(left);
            self.wire.consume(length);
            left -= length;
        }
        Ok(reply)
    }
}
