//! From received to durable: the body into storage, its record into the log, and only then 250.

use std::time::Duration;

use chrono::Utc;
use millrace_schemas::{CodecError, Topic};
use millrace_storage::{BlobError, LogError, NewRecord};
use tokio::time::{Instant, timeout};
use ulid::Ulid;

use crate::intake::{Intake, Taken};
use crate::reception::Reception;
use crate::reply::{self, Reply};
use crate::session::Session;
use crate::session::envelope::Transaction;
use crate::trace::Trace;

/// Why a message is not durable. To the client it is all one, 452, send it again later, but for an envelope that no log
/// takes. When it had been stored and only the answer was lost, first-seen finds the second copy.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("storage did not answer within {0:?}")]
    Stuck(Duration),
}

impl CommitError {
    /// The kind as metrics name it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Blob(_) => "blob",
            Self::Log(_) => "log",
            Self::Codec(_) => "codec",
            Self::Stuck(_) => "stuck",
        }
    }
}

impl Session {
    /// Starts to receive a message: gives it its id and its trace headers.
    pub(super) fn begin(&self, transaction: &Transaction) -> Intake {
        let message_id = Ulid::new().to_string();
        let trace = Trace {
            reverse_path: transaction.reverse_path.as_ref(),
            forward_path: &transaction.forward_path,
            helo: self.helo.as_ref().map_or("unknown", |helo| &helo.name),
            remote_ip: self.remote_ip,
            server_name: &self.reception.options.server_name,
            is_esmtp: self.helo.as_ref().is_some_and(|helo| helo.is_esmtp),
            is_tls: self.is_tls,
            is_smtputf8: transaction.is_smtputf8,
            message_id: &message_id,
            at: Utc::now(),
        };
        let headers = trace.headers();
        Intake::new(message_id, headers, self.reception.options.max_message_bytes)
    }

    /// Makes a message durable and says so, or says why not.
    pub(super) async fn complete(&mut self, transaction: Transaction, intake: Intake) -> Reply {
        let taken = match intake.finish(self.reception.options.limits.max_received_headers) {
            Ok(taken) => taken,
            Err(reply) => return reply,
        };
        let record = self.record(transaction, &taken);
        let (message_id, size_bytes) = (taken.message_id.clone(), taken.body.len());
        let started_at = Instant::now();
        match self.reception.commit(taken, record).await {
            Ok(()) => {
                self.tally.commands_since_message = 0;
                metrics::counter!("millrace_smtp_messages_accepted_total").increment(1);
                metrics::counter!("millrace_smtp_accepted_bytes_total").increment(size_bytes as u64);
                metrics::histogram!("millrace_smtp_commit_seconds").record(started_at.elapsed());
                tracing::debug!(%message_id, size_bytes, "message accepted");
                Reply::with(250, "2.0.0", format!("Ok: queued as {message_id}"))
            }
            Err(CommitError::Log(error @ LogError::TooLarge { .. })) => {
                tracing::warn!(%message_id, %error, "message refused: its envelope is too large");
                reply::ENVELOPE_TOO_LARGE
            }
            Err(error) => {
                metrics::counter!("millrace_smtp_messages_unstored_total", "kind" => error.kind()).increment(1);
                if let Some(messages) = self.reception.unstored.count() {
                    tracing::warn!(messages, %error, "messages not stored; their clients were told to try again");
                }
                reply::NO_STORAGE
            }
        }
    }

    fn record(&self, transaction: Transaction, taken: &Taken) -> millrace_schemas::Reception {
        millrace_schemas::Reception {
            message_id: taken.message_id.clone(),
            received_at_us: Utc::now().timestamp_micros(),
            origin: "smtp".to_owned(),
            remote_ip: self.remote_ip.to_canonical().to_string(),
            helo: self.helo.as_ref().map(|helo| helo.name.clone()).unwrap_or_default(),
            server_name: self.reception.options.server_name.clone(),
            is_tls: self.is_tls,
            is_smtputf8: transaction.is_smtputf8,
            reverse_path: transaction.reverse_path.map(|address| address.to_string()),
            forward_path: transaction.forward_path,
            recipients: transaction.recipients,
            body: String::new(),
            trace_bytes: taken.trace_bytes as i64,
            size_bytes: taken.body.len() as i64,
            body_digest: taken.digest.clone(),
        }
    }
}

impl Reception {
    /// Stores the body, then appends the record that refers to it.
    async fn commit(&self, taken: Taken, mut record: millrace_schemas::Reception) -> Result<(), CommitError> {
        let storing = async {
            record.body = self.blobs.put(taken.body).await?.to_string();
            let value = millrace_schemas::encode(&record)?;
            self.log.append(vec![NewRecord { topic: Topic::Reception, key: taken.message_id, value }]).await?;
            Ok(())
        };
        let wait = self.options.timeouts.commit;
        timeout(wait, storing).await.unwrap_or(Err(CommitError::Stuck(wait)))
    }
}
