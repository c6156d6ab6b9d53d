//! A part that can be stopped, and started again, while the node runs.

use anyhow::Context;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Start = Box<dyn Fn(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

pub struct Restartable {
    name: &'static str,
    start: Start,
    runtime: Handle,
    running: Mutex<Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>>,
}

impl Restartable {
    /// A part that does not run yet. `start` gives its future, which ends soon after its token is cancelled.
    pub fn new(
        name: &'static str,
        runtime: Handle,
        start: impl Fn(CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, start: Box::new(start), runtime, running: Mutex::default() }
    }

    pub async fn start(&self) {
        let shutdown = CancellationToken::new();
        let task = self.runtime.spawn((self.start)(shutdown.clone()));
        *self.running.lock().await = Some((shutdown, task));
    }

    /// Stops it, where it runs.
    ///
    /// # Errors
    /// What went wrong while it stopped.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let Some((shutdown, task)) = self.running.lock().await.take() else { return Ok(()) };
        shutdown.cancel();
        task.await?.with_context(|| format!("{} did not end well", self.name))
    }

    /// Whether it ended without being stopped: it is not started again by itself.
    pub async fn has_ended(&self) -> bool {
        self.running.lock().await.as_ref().is_some_and(|(_, task)| task.is_finished())
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Ends it as a panic would.
    #[cfg(test)]
    pub async fn break_down(&self) {
        if let Some((_, task)) = &*self.running.lock().await {
            task.abort();
        }
    }

    pub async fn is_running(&self) -> bool {
        self.running.lock().await.is_some()
    }
}
