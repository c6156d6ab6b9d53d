//! Runs every file of `tests/scenarios`: mail that is there, requests, and the responses they must get.
//!
//! In expected values `"*"` stands for anything, `"$name="` keeps a string as `$name` for later steps, and the member
//! `"...": true` lets an object have more members. `{alice}` and `{bob}` are account ids. A step with `eventually`
//! is repeated until it holds, for what the search index shows a moment later.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use support::{World, mail};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[serde(default)]
    mail: Vec<Mail>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    id: String,
    file: String,
    #[serde(default = "inbox")]
    mailbox: String,
    #[serde(default = "alice")]
    account: String,
    /// Seconds since 1970.
    received: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// What this step shows; printed when it fails.
    #[serde(rename = "it")]
    title: String,
    #[serde(default = "alice", rename = "as")]
    account: String,
    /// Method calls of a request.
    calls: Option<Value>,
    /// Or a whole request.
    request: Option<Value>,
    /// Or a body as it stands.
    body: Option<String>,
    /// Or mail that comes in now.
    deliver: Option<Mail>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    expect: Value,
    #[serde(default)]
    eventually: bool,
}

fn inbox() -> String {
    "inbox".into()
}

fn alice() -> String {
    "alice".into()
}

fn ok() -> u16 {
    200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_gets_the_responses_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "scenarios are missing");
    let only = std::env::var("SCENARIO").ok();
    let mut failures = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_none_or(|only| *only == name) {
            failures.extend(run(&file).await.into_iter().map(|failure| format!("{name}: {failure}")));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

async fn run(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let scenario: Scenario = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let world = World::start().await;
    let mut kept: HashMap<String, String> = HashMap::new();
    for mail in &scenario.mail {
        deliver(&world, mail).await;
    }
    let mut failures = Vec::new();
    for step in &scenario.steps {
        let mut outcome = attempt(&world, step, &mut kept).await;
        for _ in 0..200 {
            if outcome.is_ok() || !step.eventually {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            outcome = attempt(&world, step, &mut kept).await;
        }
        if let Err(why) = outcome {
            failures.push(format!("{}: {why}", step.title));
        }
    }
    failures
}

async fn deliver(world: &World, one: &Mail) {
    world.deliver(&one.account, &one.id, &mail(&one.file), &one.mailbox, one.received * 1_000_000).await;
}

async fn attempt(world: &World, step: &Step, kept: &mut HashMap<String, String>) -> Result<(), String> {
    if let Some(mail) = &step.deliver {
        deliver(world, mail).await;
        return Ok(());
    }
    let using = json!(["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"]);
    let body = match (&step.calls, &step.request, &step.body) {
        (Some(calls), None, None) => json!({ "using": using, "methodCalls": calls }).to_string(),
        (None, Some(request), None) => request.to_string(),
        (None, None, Some(body)) => body.clone(),
        _ => panic!("a step has calls, a request or a body"),
    };
    let answer = world.post(&step.account, fill(&body, world, kept)).await;
    if answer.status.as_u16() != step.status {
        return Err(format!("status {} with {:?}", answer.status, answer.body));
    }
    let found = if step.calls.is_some() { answer.json()["methodResponses"].clone() } else { answer.json() };
    let expected = fill(&step.expect.to_string(), world, kept);
    let expected: Value = serde_json::from_str(&expected).unwrap();
    compare(&expected, &found, "", kept).map_err(|why| format!("{why}\n  in {found}"))
}

fn fill(text: &str, world: &World, kept: &HashMap<String, String>) -> String {
    let mut text = text.replace("{alice}", &world.alice.id).replace("{bob}", &world.bob.id);
    for (name, value) in kept {
        text = text.replace(&format!("\"${name}\""), &format!("\"{value}\""));
    }
    text
}

fn compare(expected: &Value, found: &Value, path: &str, kept: &mut HashMap<String, String>) -> Result<(), String> {
    match (expected, found) {
        (Value::String(any), _) if any == "*" => Ok(()),
        (Value::String(keep), Value::String(value)) if keep.starts_with('$') && keep.ends_with('=') => {
            kept.insert(keep[1..keep.len() - 1].to_owned(), value.clone());
            Ok(())
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.try_for_each(|(index, (expected, found))| compare(expected, found, &format!("{path}/{index}"), kept))
        }
        (Value::Object(expected), Value::Object(found)) => {
            let is_open = expected.contains_key("...");
            for (name, value) in expected.iter().filter(|(name, _)| *name != "...") {
                let found = found.get(name).ok_or_else(|| format!("{path}/{name} is missing"))?;
                compare(value, found, &format!("{path}/{name}"), kept)?;
            }
            match found.keys().find(|name| !is_open && !expected.contains_key(*name)) {
                Some(extra) => Err(format!("{path}/{extra} is too much")),
                None => Ok(()),
            }
        }
        _ if expected == found => Ok(()),
        _ => Err(format!("{path} is {found}, not {expected}")),
    }
}
