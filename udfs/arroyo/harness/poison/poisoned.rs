/*
[dependencies]
millrace-udfs = { path = "{{MILLRACE_SOURCE}}/udfs" }
*/
// A stage function that panics on some messages.

use arroyo_udf_plugin::udf;

#[udf]
fn poisoned(raw: &[u8]) -> String {
    millrace_udfs::hosted::value("poisoned", "poison/1", || {
        assert_ne!(raw, b"poison", "this message kills");
        r#"{"version":"poison/1"}"#.to_owned()
    })
}
