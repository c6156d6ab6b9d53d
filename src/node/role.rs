//! What can run in a process, and how each part is started.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use tokio::net::TcpListener;

use super::Node;
use super::recipients::LocalRecipients;
use crate::config::Config;

/// Name of the pipeline that screens receptions, which is its consumer group.
pub const RECEPTION_PIPELINE: &str = "10_reception";

/// A part that can run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Take mail from other servers
    Reception,
    /// Run the SQL pipelines
    Pipelines,
    /// Land changes and events in hot store, tables and search index
    Lander,
    /// Serve JMAP, push and metrics
    Api,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Reception, Role::Pipelines, Role::Lander, Role::Api];

    /// Starts the part, and gives the address when it listens on one.
    pub async fn start(self, node: &Arc<Node>) -> anyhow::Result<Option<(&'static str, SocketAddr)>> {
        match self {
            Role::Reception => reception(node).await.map(Some),
            Role::Pipelines => pipelines(node).map(|()| None),
            Role::Lander => lander(node).map(|()| None),
            Role::Api => api(node).await.map(Some),
        }
    }
}

async fn listen(what: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}; choose another address with --{what}, or port 0 for a free one")
    })?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}
