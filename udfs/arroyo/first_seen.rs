/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// Which message came first with this claim for this recipient, as JSON: `{"first": message id}`.
#[udf(unordered, allowed_in_flight = 500, timeout = "300s")]
async fn first_seen(
    recipient: Option<&str>,
    claim: Option<&str>,
    message_id: Option<&str>,
    received_at_us: Option<i64>,
) -> Option<String> {
    millrace_udfs::hosted::first_seen(recipient, claim, message_id, received_at_us).await
}
