//! The libraries of the stage functions, called through their C interface as Arroyo's workers call them, give what the
//! functions give that are linked into the local runner.
#![allow(clippy::unwrap_used)]

mod batch;
mod host;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use batch::binaries;
use host::{Running, bytes, long, text, texts};
use serde_json::Value;
use world::{PATIENCE, World};

const SERVER: &str = "mx.millrace.test";
const SOON: Duration = Duration::from_secs(60);

/// The rows of a batch: every message, and a null.
fn column(messages: &[Vec<u8>]) -> Vec<Option<&[u8]>> {
    messages.iter().map(|raw| Some(raw.as_slice())).chain([None]).collect()
}

#[test]
fn summarise_gives_what_is_linked_in() {
    let world = World::get();
    let rows = column(&world.messages);
    let got = batch::run("summarise", &[binaries(&rows)]);
    let wanted = rows.iter().map(|raw| raw.map(|raw| world.stages.summarise(raw)));
    assert!(got.iter().map(|row| row.map(str::to_owned)).eq(wanted));
}

#[test]
fn scan_virus_gives_what_is_linked_in() {
    let world = World::get();
    let rows = column(&world.messages);
    let got = batch::run("scan_virus", &[binaries(&rows)]);
    let wanted = rows.iter().map(|raw| raw.map(|raw| world.stages.scan_virus(raw)));
    assert!(got.iter().map(|row| row.map(str::to_owned)).eq(wanted));
    assert!(got.iter().flatten().any(|verdict| verdict.contains("EICAR") || verdict.contains("eicar")));
}

#[test]
fn score_spam_gives_what_is_linked_in() {
    let world = World::get();
    let rows = column(&world.messages);
    let verdicts = [Some(r#"{"dmarc":"fail","spf":"pass"}"#), Some("not JSON"), None, Some("{}")];
    let verdicts: Vec<_> = verdicts.into_iter().cycle().take(rows.len()).collect();
    let got = batch::run("score_spam", &[binaries(&rows), texts(&verdicts)]);
    let wanted = rows.iter().zip(&verdicts).map(|(raw, verdict)| Some(world.stages.score_spam((*raw)?, (*verdict)?)));
    assert!(got.iter().map(|row| row.map(str::to_owned)).eq(wanted));
}

#[tokio::test]
async fn authenticate_gives_what_is_linked_in() {
    let world = World::get();
    let running = Running::start("authenticate", 200, Duration::from_secs(90));
    let messages = &world.messages[..world.messages.len().min(200)];
    let path = |id: usize| (!id.is_multiple_of(3)).then_some("alice@example.org");
    for (id, raw) in messages.iter().enumerate() {
        let row = vec![
            binaries(&[Some(raw)]),
            texts(&[Some("192.0.2.7")]),
            texts(&[Some("client.example.org")]),
            texts(&[path(id)]),
            texts(&[Some(SERVER)]),
        ];
        running.send(id as u64, row).await;
    }
    for (id, got) in running.results(messages.len(), SOON).await {
        let (raw, path) = (&messages[id as usize], path(id as usize));
        let wanted = world.stages.authenticate(raw, "192.0.2.7", "client.example.org", path, SERVER).await;
        assert_eq!(text(&got), Some(wanted));
    }
}

#[tokio::test]
async fn authenticate_without_a_message_is_null() {
    let running = Running::start("authenticate", 200, Duration::from_secs(90));
    let row = ["192.0.2.7", "client.example.org", "", SERVER].map(|word| texts(&[Some(word)]));
    running.send(1, [binaries(&[None])].into_iter().chain(row).collect()).await;
    assert_eq!(text(&running.results(1, SOON).await[0].1), None);
}

#[tokio::test]
async fn bodies_are_fetched_many_at_once() {
    let world = World::get();
    let running = Running::start("fetch_body", 64, Duration::from_secs(300));
    for (id, (reference, _)) in world.bodies.iter().enumerate() {
        // After a restart Arroyo sends the whole row; the function takes its first columns.
        let others = [texts(&[Some("0193…")]), long(Some(7))];
        running.send(id as u64, [texts(&[Some(reference)])].into_iter().chain(others).collect()).await;
    }
    let results = running.results(world.bodies.len(), SOON).await;
    assert_eq!(results.len(), world.bodies.len());
    for (id, got) in results {
        assert_eq!(bytes(&got).as_deref(), Some(world.bodies[id as usize].1.as_slice()), "row {id}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_there_is_null() {
    let world = World::get();
    let running = Running::start("fetch_body", 64, Duration::from_secs(300));
    let missing = world.bodies[0].0.replace(".pack", "").replacen(|c: char| c.is_ascii_uppercase(), "X", 1);
    for (id, reference) in [None, Some("not a reference"), Some(missing.as_str())].into_iter().enumerate() {
        running.send(id as u64, vec![texts(&[reference])]).await;
    }
    for (_, got) in running.results(3, SOON).await {
        assert_eq!(bytes(&got), None);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_null_in_time_and_holds_up_no_other() {
    let world = World::get();
    let running = Running::start("fetch_body", 64, Duration::from_secs(300));
    let began = Instant::now();
    running.send(0, vec![texts(&[Some(world.hanging_body().as_str())])]).await;
    running.send(1, vec![texts(&[Some(&world.bodies[0].0)])]).await;
    let first = running.results(1, SOON).await;
    assert_eq!((first[0].0, bytes(&first[0].1).is_some()), (1, true));
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(bytes(&running.results(1, PATIENCE + SOON).await[0].1), None);
    assert!(began.elapsed() < PATIENCE + Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn first_seen_without_its_store_is_an_error_value() {
    World::get();
    let running = Running::start("first_seen", 500, Duration::from_secs(300));
    let row = ["acc1 bob@millrace.test", "digest", "m1"].map(|word| texts(&[Some(word)]));
    running.send(0, row.into_iter().chain([long(Some(1))]).collect()).await;
    running.send(1, [texts(&[None]), texts(&[None]), texts(&[None]), long(None)].into()).await;
    let results = running.results(2, PATIENCE + SOON).await;
    let value: Value = serde_json::from_str(&text(&results[0].1).unwrap()).unwrap();
    assert!(value["error"].as_str().unwrap().contains("MILLRACE_STORAGE=cluster"), "{value}");
    assert_eq!(value["version"], "first-seen/1");
    assert_eq!(text(&results[1].1), None);
}

#[test]
fn a_panic_is_the_error_value_of_its_row_alone() {
    let got = batch::run("poisoned", &[binaries(&[Some(b"mail"), Some(b"poison"), None, Some(b"mail")])]);
    let is_error = got.iter().map(|row| row.map(|row| row.contains("\"error\""))).collect::<Vec<_>>();
    assert_eq!(is_error, [Some(false), Some(true), None, Some(false)]);
    let value: Value = serde_json::from_str(got.value(1)).unwrap();
    assert!(value["error"].as_str().unwrap().starts_with("poisoned panicked: "), "{value}");
    assert_eq!(value["version"], "poison/1");
}

#[tokio::test]
async fn panics_and_endless_waits_among_many_calls_are_error_values() {
    let running = Running::start("poisoned_async", 100, Duration::from_secs(5));
    let word = |id: u64| match id % 10 {
        3 => "panic",
        7 => "hang",
        _ => "mail",
    };
    for id in 0..500 {
        running.send(id, vec![texts(&[Some(word(id))])]).await;
    }
    let results = running.results(500, SOON).await;
    assert_eq!(results.len(), 500);
    for (id, got) in results {
        let value: Value = serde_json::from_str(&text(&got).unwrap()).unwrap();
        let error = value["error"].as_str().unwrap_or_default();
        let is_right = match word(id) {
            "panic" => error == "poisoned_async panicked: this message kills",
            "hang" => error.starts_with("poisoned_async had no answer within"),
            word => value["word"] == word,
        };
        assert!(is_right, "row {id}: {value}");
    }
}

#[tokio::test]
async fn a_task_that_ends_takes_no_other_with_it() {
    let world = World::get();
    let (first, second) = (
        Running::start("fetch_body", 64, Duration::from_secs(300)),
        Running::start("fetch_body", 64, Duration::from_secs(300)),
    );
    let reference = Arc::new(world.bodies[0].0.clone());
    first.send(0, vec![texts(&[Some(&reference)])]).await;
    first.results(1, SOON).await;
    drop(first);
    second.send(0, vec![texts(&[Some(&reference)])]).await;
    assert!(bytes(&second.results(1, SOON).await[0].1).is_some());
}
