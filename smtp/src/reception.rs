//! Reception: what every session shares, and the server that accepts them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::{BlobStore, Log};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Address;
use crate::budget::Budget;
use crate::complaint::Complaint;
use crate::connections::{Connections, Refusal};
use crate::options::ReceptionOptions;
use crate::recipients::Recipients;
use crate::reply;
use crate::session::Session;

/// Takes mail from other servers: stores the bodies, appends the records.
pub struct Reception {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) recipients: Arc<dyn Recipients>,
    pub(crate) options: ReceptionOptions,
    pub(crate) budget: Budget,
    pub(crate) postmaster: Address,
    /// Of messages that could not be stored.
    pub(crate) unstored: Complaint,
    connections: Connections,
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' cannot be the server's name: set it to this machine's host name, as in mx.example.com")]
pub struct BadServerName(String);

impl Reception {
    /// # Errors
    /// [`BadServerName`] when the name in the options is not a domain.
    pub fn new(
        log: Arc<dyn Log>,
        blobs: Arc<dyn BlobStore>,
        recipients: Arc<dyn Recipients>,
        options: ReceptionOptions,
    ) -> Result<Self, BadServerName> {
        let name = &options.server_name;
        let postmaster = Address::parse(&format!("postmaster@{name}")).ok().filter(Address::is_ascii);
        let postmaster = postmaster.ok_or_else(|| BadServerName(name.clone()))?;
        let limits = &options.limits;
        let connections = Connections::new(limits.max_connections, limits.max_connections_per_address);
        let budget = Budget::new(limits.max_body_memory_bytes);
        Ok(Self { log, blobs, recipients, budget, postmaster, unstored: Complaint::default(), connections, options })
    }
}

/// Accepts connections until `shutdown`. Then idle clients are told 421 and transactions that are open may end,
/// for as long as `timeouts.drain`; after that they are cut off. Returns when the last session is over.
pub async fn serve(listener: TcpListener, reception: Arc<Reception>, shutdown: CancellationToken) {
    let sessions = TaskTracker::new();
    let cut_off = CancellationToken::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => admit(stream, from, &reception, &sessions, &shutdown, &cut_off),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    sessions.close();
    if timeout(reception.options.timeouts.drain, sessions.wait()).await.is_err() {
        tracing::warn!(sessions = sessions.len(), "transactions cut off: they took too long to end");
        cut_off.cancel();
        sessions.wait().await;
    }
}

fn admit(
    stream: TcpStream,
    from: SocketAddr,
    reception: &Arc<Reception>,
    sessions: &TaskTracker,
    shutdown: &CancellationToken,
    cut_off: &CancellationToken,
) {
    metrics::counter!("millrace_smtp_connections_total").increment(1);
    let admission = match reception.connections.admit(from.ip()) {
        Ok(admission) => admission,
        Err(refusal) => return turn_away(stream, from, refusal),
    };
    let (shutdown, cut_off) = (shutdown.child_token(), cut_off.child_token());
    let reception = reception.clone();
    sessions.spawn(async move {
        let _admission = admission;
        metrics::gauge!("millrace_smtp_sessions_open").increment(1.0);
        let _ = stream.set_nodelay(true);
        let session = Session::run(stream, from.ip(), reception, shutdown);
        tokio::select! {
            biased;
            () = session => {}
            () = cut_off.cancelled() => {}
        }
        metrics::gauge!("millrace_smtp_sessions_open").decrement(1.0);
    });
}

/// Tells a client that there are too many, without waiting for it.
fn turn_away(stream: TcpStream, from: SocketAddr, refusal: Refusal) {
    let reply = match refusal {
        Refusal::TooMany => reply::TOO_MANY_CONNECTIONS,
        Refusal::TooManyFromAddress => reply::TOO_MANY_FROM_ADDRESS,
    };
    metrics::counter!("millrace_smtp_rejections_total", "code" => "421").increment(1);
    tracing::debug!(%from, ?refusal, "connection turned away");
    let mut line = Vec::with_capacity(128);
    reply.write(&mut line);
    // The socket does not block, and its empty buffer has room for one line.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&line));
}
