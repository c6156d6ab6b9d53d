//! Threads for screening and landing. They give way to reception and reading: a backlog is safe in the log, a client
//! that waits for its 250 is not served by mail that is screened a little earlier.

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// How willingly these threads give way (`nice(2)`): all the way. They get a twentieth of two cores that reception
/// keeps busy, and all of them once it does not.
const NICENESS: i32 = 19;

pub struct Background(Option<Runtime>);

impl Background {
    /// # Errors
    /// When no threads can be started.
    pub fn start() -> anyhow::Result<Self> {
        let give_way = || {
            // Of the calling thread, which is what Linux means by no process (setpriority(2)).
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
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
