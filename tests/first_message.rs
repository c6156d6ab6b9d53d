//! One message, from SMTP to JMAP, across a stop and a kill.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::eventually;
use support::jmap::Jmap;
use support::server::Server;
use support::smtp::{Client, canonical};

const MESSAGE: &[u8] = "From: Bob <bob@example.org>\nTo: alice@millrace.test\nSubject: =?utf-8?B?7JWI64WV?= Alice\n\
    Message-ID: <first@example.org>\nDate: Mon, 02 Nov 2026 10:00:00 +0900\nMIME-Version: 1.0\n\
    Content-Type: text/plain; charset=utf-8\n\n\
    나는 오늘 서울에서 커피를 마셨다.\n.a line that begins with a dot\nThe quarterly figures are attached.\n"
    .as_bytes();

fn check(server: &Server) {
    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    let ids = eventually(Duration::from_secs(10), "the message is listed", || {
        let ids = jmap.query(json!({ "inMailbox": "inbox" }));
        (!ids.is_empty()).then_some(ids)
    });
    assert_eq!(ids.len(), 1);
    let email = &jmap.emails(&ids, &["subject", "from", "blobId", "preview", "keywords"])[0];
    assert_eq!(email["subject"], "안녕 Alice");
    assert_eq!(email["from"][0]["email"], "bob@example.org");
    let body = jmap.download(email["blobId"].as_str().unwrap());
    assert!(body.ends_with(&canonical(MESSAGE)), "{}", String::from_utf8_lossy(&body));
    for words in ["quarterly figures", "커피를", "서울"] {
        eventually(Duration::from_secs(10), "the message is found", || {
            (jmap.query(json!({ "text": words })) == ids).then_some(())
        });
    }
    assert!(jmap.query(json!({ "text": "zeppelin" })).is_empty());
    let rows = server.query("SELECT subject, from_address FROM mailbox");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["subject"], "안녕 Alice");
    assert_eq!(server.audit(Duration::from_secs(20))["receptions"], 1);
}

#[test]
fn a_message_is_read_searched_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    let mut client = Client::connect(server.smtp).unwrap();
    client.send("bob@example.org", &["alice@millrace.test"], MESSAGE).unwrap();
    check(&server);
    server.stop();
    let server = Server::start(data.path());
    check(&server);
    server.kill();
    let server = Server::start(data.path());
    check(&server);
    server.run(&["rebuild", "search"]);
    check(&server);
    server.run(&["rebuild", "hot"]);
    check(&server);
}

#[test]
fn commands_say_what_to_do_next() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    for (arguments, hint) in [
        (&["account", "add", "a@elsewhere.test"][..], "millrace domain add elsewhere.test"),
        (&["account", "remove", "nobody@millrace.test"], "millrace account list"),
        (&["query", "DROP TABLE emails"], "SELECT"),
        (&["import", "/nowhere", "--account", "a@millrace.test"], "mbox"),
    ] {
        let output = server.output(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(hint), "{arguments:?}: {error}");
    }
}
