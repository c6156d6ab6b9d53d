/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// A stage function that panics on some messages, and never has an answer to others.

use std::future::pending;
use std::time::Duration;

use arroyo_udf_plugin::udf;

#[udf(unordered, allowed_in_flight = 100, timeout = "5s")]
async fn poisoned_async(word: Option<&str>) -> Option<String> {
    let word = word?.to_owned();
    let work = async move {
        match word.as_str() {
            "panic" => panic!("this message kills"),
            "hang" => pending().await,
            word => format!(r#"{{"word":"{word}","version":"poison/1"}}"#),
        }
    };
    let limit = Duration::from_millis(500);
    Some(millrace_udfs::hosted::value_within("poisoned_async", "poison/1", limit, work).await)
}
