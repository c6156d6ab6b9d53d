//! `millrace import`, twice.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use support::jmap::Jmap;
use support::server::{Server, millrace};

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

#[test]
fn an_import_that_was_killed_and_repeated_doubles_nothing() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for number in 0..600 {
        let raw = format!("From: a@example.org\r\nSubject: number {number}\r\n\r\n{}\r\n", "words ".repeat(200));
        std::fs::write(folder.path().join(format!("{number}.eml")), raw).unwrap();
    }
    let arguments = ["import", folder.path().to_str().unwrap(), "--account", "alice@millrace.test"];
    for round in 0..3 {
        let server = Server::start(data.path());
        if round == 0 {
            server.add_account("alice@millrace.test");
        }
        let mut import = millrace(data.path()).args(arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 + 100 * round));
        server.kill();
        import.wait().unwrap();
    }
    let server = Server::start(data.path());
    server.run(&arguments);
    assert_eq!(Jmap::connect(server.http, "alice@millrace.test").query(json!({})).len(), 600);
    let report = server.audit(Duration::from_secs(30));
    assert_eq!((&report["receptions"], &report["delivered"]), (&json!(600), &json!(600)));
}

#[test]
fn what_was_destroyed_comes_back_by_an_import() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    let eml = data.path().join("one.eml");
    std::fs::write(&eml, "Subject: kept in a backup\r\n\r\ntext\r\n").unwrap();
    let import = || server.run(&["import", eml.to_str().unwrap(), "--account", "alice@millrace.test"]);
    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    for _ in 0..3 {
        assert_eq!(import(), "imported 1 messages into alice@millrace.test; 0 were there already\n");
        assert_eq!(import(), "imported 0 messages into alice@millrace.test; 1 were there already\n");
        let ids = jmap.query(json!({}));
        assert_eq!(ids.len(), 1);
        let answer = jmap.call("Email/set", json!({ "destroy": ids }));
        assert_eq!(answer["destroyed"], json!(ids));
    }
    assert_eq!(server.audit(Duration::from_secs(20))["delivered"], 3);
}

#[test]
fn an_audit_of_a_directory_that_is_not_there_proves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let nowhere = data.path().join("nowhere");
    let output = millrace(&nowhere).arg("audit").output().unwrap();
    assert!(!output.status.success() && !nowhere.exists());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no data directory of Millrace"));
}
