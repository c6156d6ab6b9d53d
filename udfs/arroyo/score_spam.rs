/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// How likely a message is spam, as JSON; `authentication` is what `authenticate` gave.
#[udf]
fn score_spam(raw: &[u8], authentication: &str) -> String {
    millrace_udfs::hosted::score_spam(raw, authentication)
}
