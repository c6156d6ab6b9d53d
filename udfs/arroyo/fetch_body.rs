/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// The stored body at a reference; null when there is none that can be read. Few at once: bodies are large.
#[udf(unordered, allowed_in_flight = 64, timeout = "300s")]
async fn fetch_body(body: Option<&str>) -> Option<Vec<u8>> {
    millrace_udfs::hosted::fetch_body(body).await
}
