//! What operators do: look at quarantine and dead letters, try again, set quotas, remove accounts.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use support::eventually;
use support::jmap::Jmap;
use support::server::Server;
use support::smtp::Client;

const PATIENCE: Duration = Duration::from_secs(20);

/// The test file of <https://www.eicar.org>, which is harmless and which every scanner knows.
const EICAR: &str = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";

fn send(server: &Server, to: &str, text: &str) {
    let raw = format!("From: bob@example.org\nTo: {to}\nSubject: {}\n\n{text}\n", &text[..text.len().min(20)]);
    Client::connect(server.smtp).unwrap().send("bob@example.org", &[to], raw.as_bytes()).unwrap();
}

/// Replies to MAIL with these parameters and to a RCPT for each recipient.
fn replies(server: &Server, parameters: &str, recipients: &[&str]) -> Vec<String> {
    let mut client = Client::connect(server.smtp).unwrap();
    let mail = client.command(&format!("MAIL FROM:<bob@example.org>{parameters}")).unwrap();
    assert!(mail.starts_with("250 "), "{mail}");
    recipients.iter().map(|recipient| client.command(&format!("RCPT TO:<{recipient}>")).unwrap()).collect()
}

#[test]
fn a_virus_ends_in_quarantine_and_is_counted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    send(&server, "alice@millrace.test", EICAR);
    send(&server, "alice@millrace.test", "harmless");
    let report = server.audit(PATIENCE);
    assert_eq!(
        (&report["receptions"], &report["delivered"], &report["quarantined"]),
        (&json!(2), &json!(1), &json!(1))
    );

    let rows = server.query("SELECT virus_name, reason FROM screened WHERE disposition = 'quarantine'");
    assert_eq!(rows, [json!({ "virus_name": "EICAR_Test_File", "reason": "virus: EICAR_Test_File" })]);
    let rows = server.query("SELECT recipient FROM delivery WHERE event = 'quarantine'");
    assert_eq!(rows, [json!({ "recipient": "alice@millrace.test" })]);
    let text = server.run(&["audit"]);
    assert!(text.contains("  1 delivered\n") && text.contains("  1 quarantined\n"), "{text}");

    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    let ids = eventually(PATIENCE, "the other message is listed", || {
        Some(jmap.query(json!({}))).filter(|ids| !ids.is_empty())
    });
    assert_eq!(ids.len(), 1);
    assert_eq!(jmap.emails(&ids, &["subject"])[0]["subject"], "harmless");
}

/// The only pack of a data directory.
fn pack(data: &Path) -> PathBuf {
    let days = std::fs::read_dir(data.join("blobs")).unwrap().map(|day| day.unwrap().path());
    let packs = days.filter(|day| day.is_dir()).flat_map(|day| std::fs::read_dir(day).unwrap());
    let packs: Vec<_> = packs.map(|pack| pack.unwrap().path()).collect();
    assert_eq!(packs.len(), 1, "{packs:?}");
    packs[0].clone()
}

/// Ids that `dead-letter list` shows.
fn letters(server: &Server) -> Vec<String> {
    let list = server.run(&["dead-letter", "list"]);
    list.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn one_letter(server: &Server, besides: &str) -> String {
    eventually(PATIENCE, "a dead letter is listed", || letters(server).into_iter().find(|id| id != besides))
}

#[test]
fn a_dead_letter_is_delivered_once_when_its_bytes_are_back() {
    let data = tempfile::tempdir().unwrap();
    // Nothing screens, so that the message waits for its pack to be damaged.
    let server = Server::start_roles(data.path(), &["reception"]);
    server.add_account("alice@millrace.test");
    send(&server, "alice@millrace.test", "almost lost");
    server.stop();
    let pack = pack(data.path());
    let whole = std::fs::read(&pack).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 0x55;
    std::fs::write(&pack, &damaged).unwrap();

    let server = Server::start(data.path());
    let first = one_letter(&server, "");
    let list = server.run(&["dead-letter", "list"]);
    assert!(list.contains("fetched") && list.contains("there is no readable body at"), "{list}");
    let show = server.run(&["dead-letter", "show", &first]);
    assert!(show.contains("\"stage\": \"fetched\"") && show.contains("is damaged"), "{show}");
    let report = server.audit_once(&[]);
    assert_eq!((&report["dead_lettered"], &report["delivered"]), (&json!(1), &json!(0)));
    let output = server.output(&["audit", "--bodies"]);
    assert!(!output.status.success(), "the audit of bodies must find the damage");

    // Still damaged: it fails again, and the newer letter takes the place of the older.
    server.run(&["dead-letter", "retry", &first]);
    let second = one_letter(&server, &first);
    assert_eq!(letters(&server), [second.as_str()]);
    let error = server.refusal(&["dead-letter", "retry", &first]);
    assert!(error.contains("was tried again already") && error.contains(&second), "{error}");

    std::fs::write(&pack, &whole).unwrap();
    server.run(&["dead-letter", "retry", &second]);
    // At once, while the pipeline may still have it, and later.
    let error = server.refusal(&["dead-letter", "retry", &second]);
    assert!(error.contains("again already") && error.contains("dead-letter list"), "{error}");
    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    eventually(PATIENCE, "the message is delivered", || (!jmap.query(json!({})).is_empty()).then_some(()));
    let report = server.audit(PATIENCE);
    assert_eq!((&report["delivered"], &report["dead_lettered"]), (&json!(1), &json!(0)));
    let error = server.refusal(&["dead-letter", "retry", &second]);
    assert!(error.contains("was tried again already, and has gone through"), "{error}");
    assert_eq!(server.run(&["dead-letter", "list"]), "there are no dead letters\n");
    assert_eq!(server.run(&["dead-letter", "retry", "--all"]), "");
    let report = server.audit(PATIENCE);
    assert_eq!((&report["delivered"], &report["duplicates"]), (&json!(1), &json!(0)));
    assert_eq!(jmap.query(json!({})).len(), 1);
    server.stop();
}

#[test]
fn letters_that_are_none_are_refused_with_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    for id in ["0-99", "nothing", "1-x", "0-1'"] {
        for command in ["show", "retry"] {
            let error = server.refusal(&["dead-letter", command, id]);
            assert!(
                error.contains("there is no dead letter") && error.contains("millrace dead-letter list"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_full_account_takes_no_more_and_keeps_its_aliases_from_taking() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.run(&["account", "add", "alice@millrace.test", "--quota", "3000"]);
    server.add_account("bob@millrace.test");
    server.run(&["account", "alias", "both@millrace.test", "bob@millrace.test", "alice@millrace.test"]);
    let everyone = ["alice@millrace.test", "both@millrace.test", "alice+tag@millrace.test", "bob@millrace.test"];
    let codes = |parameters: &str| -> Vec<String> {
        replies(&server, parameters, &everyone).iter().map(|reply| reply[..9].to_owned()).collect()
    };
    assert_eq!(codes(""), ["250 2.1.5"; 4]);
    let full = ["452 4.2.2", "452 4.2.2", "452 4.2.2", "250 2.1.5"];
    assert_eq!(codes(" SIZE=3001"), full, "what is declared counts before anything is held");
    assert_eq!(codes(" SIZE=3000"), ["250 2.1.5"; 4]);

    send(&server, "alice@millrace.test", &"fill ".repeat(600));
    eventually(PATIENCE, "the quota is used up", || (codes("") == full).then_some(()));
    send(&server, "bob@millrace.test", "for Bob alone");
    let report = server.audit(PATIENCE);
    assert_eq!((&report["delivered"], &report["receptions"]), (&json!(2), &json!(2)));
}

#[test]
fn a_removed_account_takes_nothing_and_its_mail_stays_in_the_tables() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.add_account("alice@millrace.test");
    server.add_account("bob@millrace.test");
    server.run(&["account", "alias", "team@millrace.test", "alice@millrace.test", "bob@millrace.test"]);
    server.run(&["account", "alias", "ali@millrace.test", "alice@millrace.test"]);
    send(&server, "alice@millrace.test", "before");
    server.audit(PATIENCE);
    let id = server.query("SELECT account_id FROM mailbox")[0]["account_id"].as_str().unwrap().to_owned();

    let said = server.run(&["account", "remove", "alice@millrace.test"]);
    assert_eq!(
        said,
        format!(
            "removed alice@millrace.test: it takes no more mail, and nobody can log in to it; what it had stays in the \
             tables, under {id}\n"
        )
    );
    let recipients = ["alice@millrace.test", "ali@millrace.test", "team@millrace.test"];
    let codes: Vec<_> = replies(&server, "", &recipients).iter().map(|reply| reply[..9].to_owned()).collect();
    assert_eq!(codes, ["550 5.1.1", "550 5.1.1", "250 2.1.5"], "an alias goes on with whom it has left");
    send(&server, "team@millrace.test", "after");
    let report = server.audit(PATIENCE);
    assert_eq!((&report["delivered"], &report["receptions"]), (&json!(2), &json!(2)));
    let rows = server.query(&format!("SELECT subject FROM mailbox WHERE account_id = '{id}'"));
    assert_eq!(rows, [json!({ "subject": "before" })]);

    // The address is free again, and whoever gets it gets nothing of what was there before.
    server.add_account("alice@millrace.test");
    let jmap = Jmap::connect(server.http, "alice@millrace.test");
    assert_ne!(jmap.account_id, id);
    assert!(jmap.query(json!({})).is_empty());
    let error = server.refusal(&["account", "remove", "nobody@millrace.test"]);
    assert!(error.contains("millrace account list"), "{error}");
    assert!(
        server.run(&["account", "remove", "team@millrace.test"]).starts_with("removed the alias team@millrace.test")
    );
}
