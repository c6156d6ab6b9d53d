//! Threads for screening and landing. They give way to reception and reading: a backlog is safe in the log, a client
//! that waits for its 250 is not served by mail that is screened a little earlier.

use anyhow::Context;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};

pub struct Background(Option<Runtime>);

impl Background {
    /// `gives_way` where reception and reading are in the same process; one by itself would give way to whatever else the
    /// machine does.
    ///
    /// # Errors
    /// When no threads can be started.
    pub fn start(gives_way: bool) -> anyhow::Result<Self> {
        // SCHED_IDLE (sched(7)): what wakes up beside them goes first, where even the lowest niceness may finish its
        // turn before. They still get a small share of cores that are never idle.
        let give_way = move || {
            if !gives_way {
                return;
            }
            let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy) {
                tracing::debug!(?error, "screening runs at the priority of everything else");
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
