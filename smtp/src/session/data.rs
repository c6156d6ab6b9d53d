//! DATA (RFC 5321 section 4.1.1.4).

use tokio::time::Instant;

use crate::data_scanner::DataScanner;
use crate::reply::{self, Reply};
use crate::session::{End, Session, Step};

impl Session {
    pub(super) async fn data(&mut self) -> Step {
        if let Some(reply) = self.data_refusal() {
            return Ok(reply);
        }
        // The client must wait for 354 (RFC 2920 section 3.1): content that is here already was sent by someone
        // who did not see our reply, and may be meant to be taken for commands, or commands for content.
        if !self.wire.buffered().is_empty() {
            return self.refuse(reply::SPOKE_EARLY).map(|never| match never {});
        }
        let Some(transaction) = self.transaction.take() else { return Ok(reply::NO_MAIL) };
        let mut intake = self.begin(&transaction);
        let mut scanner = DataScanner::new();
        self.wire.hold(&reply::GO_AHEAD);
        self.wire.widen();
        let options = &self.reception.options;
        loop {
            self.wire.fill(Instant::now() + options.timeouts.data_block).await?;
            // One byte more: a CR that the scanner held back.
            let most = self.wire.buffered().len() + 1;
            intake.make_room(most, &self.reception.budget, options.timeouts.memory).await;
            let progress = scanner.feed(self.wire.buffered(), |content| intake.append(content));
            self.wire.consume(progress.consumed);
            intake.digest();
            if progress.is_end {
                break;
            }
            if let Some(reply) = intake.refusal().filter(|_| intake.drained() > options.limits.max_drained_bytes) {
                let reply = reply.clone();
                return self.refuse(reply).map(|never| match never {});
            }
        }
        if scanner.has_bare_cr_or_lf() {
            // What follows may be the other half of an attempt to smuggle: nothing more is taken from this client.
            self.hold(&reply::BARE_CR_OR_LF);
            return Err(End::Refused);
        }
        Ok(self.complete(transaction, intake).await)
    }

    fn data_refusal(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(reply::NO_MAIL),
            Some(transaction) if transaction.forward_path.is_empty() => Some(reply::NO_RECIPIENTS),
            Some(transaction) if transaction.chunks.is_some() => Some(reply::DATA_AFTER_BDAT),
            Some(_) => None,
        }
    }
}
