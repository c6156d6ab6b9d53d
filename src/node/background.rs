//! Threads for screening and landing. They give way to reception and reading: a backlog is safe in the log, a client
//! that waits for its 250 is not served by mail that is screened a little earlier.

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// How much more willingly these threads give way (`nice(2)`): about a third of the weight of the others.
const NICENESS: i32 = 5;

pub struct Background(Option<Runtime>);

impl Background {
    /// # Errors
    /// When no threads can be started.
    pub fn start() -> anyhow::Result<Self> {
        let give_way = || {
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::debug!(%error, "screening runs at the priority of everything else");
            }
        };
        let runtime = Builder::new_multi_thread()
            .thread_name("millrace-behind")
            .on_thread_start(give_way)
            .enable_all()
            .build()
            .context("no threads can be started")?;
        Ok(Self(Some(runtime)))
    }

    pub fn handle(&self) -> &Handle {
        self.0.as_ref().map(Runtime::handle).expect("the runtime is taken only when this is dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
