/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// millrace-udfs 0.1.0

use arroyo_udf_plugin::udf;

/// SPF, DKIM, DMARC and ARC results, as JSON; a null reverse path is the null reverse-path.
#[udf(unordered, allowed_in_flight = 200, timeout = "90s")]
async fn authenticate(
    raw: Option<&[u8]>,
    remote_ip: Option<&str>,
    helo: Option<&str>,
    reverse_path: Option<&str>,
    server_name: Option<&str>,
) -> Option<String> {
    millrace_udfs::hosted::authenticate(raw, remote_ip, helo, reverse_path, server_name).await
}
