/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// Structure, addresses, subject, preview and attachments of a message, as JSON.
#[udf]
fn summarise(raw: &[u8]) -> String {
    millrace_udfs::hosted::summarise(raw)
}
