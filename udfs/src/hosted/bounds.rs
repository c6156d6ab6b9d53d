//! What keeps a call from hurting its host: panics caught, waits bounded, and threads that outlive the host's own.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use super::settings::Settings;
use crate::guard::{error_value, guarded, guarded_future};

/// No call takes longer, whatever is away: a minute below the timeout that `arroyo/*.rs` tells Arroyo.
pub const LONGEST_CALL: Duration = Duration::from_secs(240);
/// How long a store may be away before its records become dead letters, when nothing else is said. A handover waits longer
/// than that, so it is short.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(45);
/// The checks of one message have a deadline of 5 s of their own; the rest is for a worker short of CPU.
pub const AUTHENTICATION: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For what a function waits for: the work itself runs on the caller's threads or takes little.
const THREADS: usize = 2;

/// The result of `work`, or the error value of its panic.
pub fn value(stage: &'static str, version: &str, work: impl FnOnce() -> String) -> String {
    guarded(stage, work).unwrap_or_else(|reason| error_value(&reason, version))
}

/// The result of `work`, or the error value of its panic or of its taking longer than `limit`.
pub async fn value_within(
    stage: &'static str,
    version: &str,
    limit: Duration,
    work: impl Future<Output = String> + Send + 'static,
) -> String {
    within(stage, limit, async move { Ok(work.await) }).await.unwrap_or_else(|reason| error_value(&reason, version))
}

/// Tries again, ever more slowly, while `attempt` fails, until [`patience`] is used up. So a store that is away for a
/// while delays mail, as it does in the local runner, and dead letters come only when it stays away.
pub(super) async fn patiently<T, F>(stage: &'static str, attempt: impl Fn() -> F + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send,
{
    let patience = patience();
    let trying = async move {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let reason = match attempt().await {
                Ok(result) => return Ok(result),
                Err(reason) => reason,
            };
            if Instant::now() + pause >= deadline {
                return Err(format!("{reason}; given up after {} s", patience.as_secs()));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    within(stage, patience, trying).await
}

/// How long a store may be away before its records become dead letters.
pub(super) fn patience() -> Duration {
    Settings::get().map_or(DEFAULT_PATIENCE, |settings| settings.patience)
}

/// Runs `work` on threads of this library's own. The host gives each task of a job a runtime that ends with the task,
/// and connections that began there would end with it, under other tasks that share them.
async fn within<T: Send + 'static>(
    stage: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let mut task = runtime()?.spawn(guarded_future(stage, work));
    match timeout(limit, &mut task).await {
        Ok(Ok(result)) => result.flatten(),
        Ok(Err(ended)) => Err(format!("{stage} ended: {ended}")),
        Err(_) => {
            task.abort();
            Err(format!("{stage} had no answer within {} s", limit.as_secs()))
        }
    }
}

fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let built =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("millrace-stage").enable_all().build();
        built.map_err(|error| format!("no threads can be started: {error}"))
    });
    made.as_ref().map_err(Clone::clone)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn error_of(value: &str) -> String {
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(value["version"], "test/1");
        value["error"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_is_an_error_value() {
        let value = value("summarise", "test/1", || panic!("poison"));
        assert_eq!(error_of(&value), "summarise panicked: poison");
    }

    #[tokio::test]
    async fn a_panic_on_the_way_is_an_error_value() {
        let value = value_within("authenticate", "test/1", LONGEST_CALL, async { panic!("poison") }).await;
        assert_eq!(error_of(&value), "authenticate panicked: poison");
    }

    #[tokio::test]
    async fn an_endless_wait_is_an_error_value() {
        let limit = Duration::from_millis(20);
        let value = value_within("authenticate", "test/1", limit, std::future::pending()).await;
        assert_eq!(error_of(&value), "authenticate had no answer within 0 s");
    }
}
