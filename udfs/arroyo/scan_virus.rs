/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// The virus rules that a message matches, as JSON.
#[udf]
fn scan_virus(raw: &[u8]) -> String {
    millrace_udfs::hosted::scan_virus(raw)
}
