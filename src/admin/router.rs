//! The routes of the admin interface.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{SOCKET, dead_letter, directory, import, lag, rebuild, sql};
use crate::node::Node;

/// All routes, over a node.
pub fn router(node: Arc<Node>) -> Router {
    let message_limit = usize::try_from(node.config.smtp.max_message_bytes).unwrap_or(usize::MAX);
    Router::new()
        .route("/domains", get(directory::list_domains).post(directory::add_domain))
        .route("/domains/{name}", delete(directory::remove_domain))
        .route("/accounts", get(directory::list_accounts).post(directory::add_account))
        .route("/accounts/{address}", delete(directory::remove_account))
        .route("/aliases", post(directory::add_alias))
        .route("/pipelines/lag", get(lag::lag))
        .route("/query", post(sql::query))
        .route("/audit", post(sql::audit))
        .route("/dead-letters", get(dead_letter::list))
        .route("/dead-letters/{id}", get(dead_letter::show))
        .route("/dead-letters/{id}/retry", post(dead_letter::retry))
        .route("/rebuild/{what}", post(rebuild::rebuild))
        .route("/import/{account}", get(import::check))
        .route("/import/{account}/message", post(import::message).layer(DefaultBodyLimit::max(message_limit)))
        .route("/import/{account}/finish", post(import::finish).layer(DefaultBodyLimit::max(1 << 30)))
        .with_state(node)
}

/// Makes the socket in the data directory. The directory is locked by the node, so a socket that lies there is from
/// one that died; it is open to its owner alone, so nobody gets in before the mode is set.
///
/// # Errors
/// When the socket cannot be made there.
pub fn bind(data_dir: &Path) -> anyhow::Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    remove(&path)?;
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("no socket can be made at {}; a shorter data directory may help", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the router until `shutdown`.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: UnixListener, node: Arc<Node>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let path = node.config.data_dir.join(SOCKET);
    let router = router(node);
    axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await }).await?;
    remove(&path)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
