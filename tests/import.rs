//! `millrace import`, twice.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::jmap::Jmap;
use support::server::Server;

const MBOX: &str = "From a@example.org Mon Nov 23 10:00:00 2026\nSubject: one\nStatus: RO\n\nfirst\n\n\
    From a@example.org Mon Nov 23 10:00:01 2026\nSubject: two\n\nsecond\n\n\
    From a@example.org Mon Nov 23 10:00:00 2026\nSubject: one\nStatus: RO\n\nfirst\n";

#[test]
fn an_import_can_be_repeated_and_keeps_what_was_read() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    let mbox = data.path().join("mail.mbox");
    std::fs::write(&mbox, MBOX).unwrap();
    let import = || server.run(&["import", mbox.to_str().unwrap(), "--account", "alice@millrace.test"]);
    assert_eq!(import(), "imported 2 messages into alice@millrace.test; 1 were there already\n");
    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    assert_eq!(jmap.query(json!({})).len(), 2);
    let read = jmap.query(json!({ "hasKeyword": "$seen" }));
    assert_eq!(jmap.emails(&read, &["subject"])[0]["subject"], "one");
    assert_eq!(import(), "imported 0 messages into alice@millrace.test; 3 were there already\n");
    assert_eq!(jmap.query(json!({})).len(), 2);
    let report = server.audit(Duration::from_secs(20));
    assert_eq!((&report["receptions"], &report["delivered"]), (&json!(2), &json!(2)));
}
