//! A node with only some roles does what it can, and says which role the rest needs.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::eventually;
use support::server::Server;
use support::smtp::Client;

const MESSAGE: &[u8] = b"From: bob@example.org\nSubject: one\n\nfirst\n";

/// Each command that needs more than the directory, with the role that it misses.
fn refused(server: &Server, mbox: &str, missing: &[(&[&str], &str)]) {
    for (arguments, role) in missing {
        let arguments: Vec<_> =
            arguments.iter().map(|argument| if *argument == "MBOX" { mbox } else { argument }).collect();
        let error = server.refusal(&arguments);
        for part in [&format!("no {role}"), "millrace up", "millrace run "] {
            assert!(error.contains(part), "{arguments:?} misses {part}: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

fn mbox(data: &std::path::Path) -> String {
    let mbox = data.join("mail.eml");
    std::fs::write(&mbox, MESSAGE).unwrap();
    mbox.to_str().unwrap().to_owned()
}

const IMPORT: &[&str] = &["import", "MBOX", "--account", "alice@millrace.test"];

#[test]
fn reception_alone_takes_mail_and_says_what_questions_need() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_roles(data.path(), &["reception"]);
    server.add_account("alice@millrace.test");
    server.run(&["account", "add", "bob@millrace.test", "--quota", "1000"]);
    server.run(&["account", "alias", "a@millrace.test", "alice@millrace.test"]);
    assert_eq!(server.run(&["account", "list"]).lines().count(), 4);
    assert_eq!(server.run(&["domain", "list"]), "millrace.test\n");
    refused(
        &server,
        &mbox(data.path()),
        &[
            (&["query", "SELECT 1"], "lander"),
            (&["audit"], "lander"),
            (&["dead-letter", "list"], "lander"),
            (&["dead-letter", "show", "0-0"], "lander"),
            (&["dead-letter", "retry", "0-0"], "pipelines and no lander"),
            (&["rebuild", "hot"], "lander"),
            (IMPORT, "pipelines and no lander"),
        ],
    );
    let mut client = Client::connect(server.smtp).unwrap();
    client.send("bob@example.org", &["alice@millrace.test"], MESSAGE).unwrap();
    client.command("MAIL FROM:<bob@example.org>").unwrap();
    let reply = client.command("RCPT TO:<bob@millrace.test>").unwrap();
    assert!(reply.starts_with("451 4.3.0"), "nobody knows what Bob holds: {reply}");
    drop(client);
    server.stop();

    let server = Server::start(data.path());
    assert_eq!(server.audit(Duration::from_secs(20))["delivered"], 1);
    server.stop();
}

#[test]
fn a_lander_alone_answers_questions_and_leaves_screening_to_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_roles(data.path(), &["reception"]);
    server.add_account("alice@millrace.test");
    Client::connect(server.smtp).unwrap().send("bob@example.org", &["alice@millrace.test"], MESSAGE).unwrap();
    server.stop();
    let server = Server::start_roles(data.path(), &["lander"]);
    let report: Value = serde_json::from_str(&server.run(&["audit", "--json"])).unwrap();
    assert_eq!((&report["receptions"], &report["in_flight"]), (&json!(1), &json!(1)));
    assert_eq!(server.query("SELECT count(*) AS n FROM reception"), [json!({ "n": 1 })]);
    assert_eq!(server.run(&["dead-letter", "list"]), "there are no dead letters\n");
    assert!(server.run(&["rebuild", "hot"]).contains("0 emails"));
    assert!(server.run(&["rebuild", "search"]).contains("0 emails"));
    refused(&server, &mbox(data.path()), &[(&["dead-letter", "retry", "0-0"], "pipelines"), (IMPORT, "pipelines")]);
    server.stop();
}

#[test]
fn pipelines_alone_screen_what_waits() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_roles(data.path(), &["reception"]);
    server.add_account("alice@millrace.test");
    Client::connect(server.smtp).unwrap().send("bob@example.org", &["alice@millrace.test"], MESSAGE).unwrap();
    server.stop();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let server = Server::start_roles(data.path(), &["pipelines"]);
        refused(&server, &mbox(data.path()), &[(&["audit"], "lander"), (IMPORT, "lander")]);
        // Nothing tells from outside when it is through.
        std::thread::sleep(Duration::from_secs(2));
        server.stop();
        let server = Server::start_roles(data.path(), &["lander"]);
        let report: Value = serde_json::from_str(&server.run(&["audit", "--json"])).unwrap();
        server.stop();
        if report["in_flight"] == 0 {
            assert_eq!(report["delivered"], 1);
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
    }
}

#[test]
fn a_pipeline_that_screens_is_followed_whatever_its_name() {
    let data = tempfile::tempdir().unwrap();
    let own = tempfile::tempdir().unwrap();
    let built_in = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/10_reception.sql");
    std::fs::copy(built_in, own.path().join("05_own.sql")).unwrap();
    let server = Server::start_with(data.path(), &[("MILLRACE_PIPELINES_DIR", own.path().to_str().unwrap())]);
    server.add_account("alice@millrace.test");
    Client::connect(server.smtp).unwrap().send("bob@example.org", &["alice@millrace.test"], MESSAGE).unwrap();
    assert_eq!(server.audit(Duration::from_secs(60))["delivered"], 1);
    assert!(server.run(&["pipelines", "lag"]).contains("05_own"));
    server.stop();
}

#[test]
fn commands_without_a_node_bring_their_own() {
    let data = tempfile::tempdir().unwrap();
    let mbox = mbox(data.path());
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    let said = server.output(&["import", "/nowhere", "--account", "alice@millrace.test"]);
    assert!(!said.status.success());
    let run = |arguments: &[&str]| {
        let output = support::server::millrace(data.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    server.stop();
    assert!(run(&["import", &mbox, "--account", "alice@millrace.test"]).contains("imported 1 messages"));
    assert!(run(&["query", "SELECT subject FROM mailbox", "--format", "csv"]).contains("one"));
    assert!(run(&["audit", "--bodies"]).contains("1 delivered"));
    assert_eq!(run(&["dead-letter", "list"]), "there are no dead letters\n");
    assert!(run(&["account", "list"]).contains("alice@millrace.test"));
}

#[test]
fn an_import_into_an_unknown_account_is_refused_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let error = server.refusal(&["import", &mbox(data.path()), "--account", "nobody@millrace.test"]);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("nobody@millrace.test") && error.contains("millrace account list"), "{error}");
}

#[test]
fn health_says_whether_mail_can_be_read() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_roles(data.path(), &["api"]);
    let said = eventually(Duration::from_secs(10), "the node looked at itself", || {
        Some(server.health()).filter(|(_, body)| !body.contains("starting"))
    });
    assert_eq!(said.0, 503);
    assert!(said.1.contains("no lander") && said.1.contains("millrace up"), "{}", said.1);
    server.stop();
    let server = Server::start(data.path());
    eventually(Duration::from_secs(30), "the node is ready", || (server.health().0 == 200).then_some(()));
    server.stop();
    // A disk with less free space than is kept in reserve is full.
    let server = Server::start_with(data.path(), &[("MILLRACE_MIN_FREE_BYTES", "9000000000000000000")]);
    let said = eventually(Duration::from_secs(30), "the node is not ready", || {
        Some(server.health()).filter(|(_, body)| body.contains("disk"))
    });
    assert_eq!(said.0, 503);
    assert!(said.1.contains("the disk is full"), "{}", said.1);
}
