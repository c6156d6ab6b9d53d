//! The last net: a stage function that panics gives an error value, not a dead process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;
use tracing::error;

/// Runs `work`; a panic becomes `Err` with the panic's message. Nothing that `work` leaves behind is used again
/// after a panic except caches whose entries are whole.
pub(crate) fn guarded<T>(stage: &'static str, work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| report(stage, panic.as_ref()))
}

/// [`guarded`] for a future.
pub(crate) async fn guarded_future<T>(stage: &'static str, work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| report(stage, panic.as_ref()))
}

/// `{"error": reason, "version": version}`: the value that SQL routes to the dead-letter topic.
pub(crate) fn error_value(reason: &str, version: &str) -> String {
    serde_json::json!({"error": reason, "version": version}).to_string()
}

fn report(stage: &'static str, panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned());
    error!(stage, message, "stage function panicked");
    format!("{stage} panicked: {message}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_value() {
        let reason = guarded("summarise", || -> u8 { panic!("part {}", 3) }).unwrap_err();
        assert_eq!(reason, "summarise panicked: part 3");
        let value: serde_json::Value = serde_json::from_str(&error_value(&reason, "1")).unwrap();
        assert_eq!(value["error"], reason);
    }
}
