//! Walks `fixtures/<function>/NNN-name.eml` and compares with the `.json` beside it. A new case is a new file;
//! `UPDATE_FIXTURES=1 cargo test -p millrace-udfs --test fixtures` writes what is missing, to be read before commit.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use millrace_udfs::{Dns, Summary, VirusVerdict};
use serde_json::Value;

fn messages(function: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(function);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "eml"));
    files.sort();
    files
}

fn walk(function: &str, call: impl Fn(&[u8]) -> String) -> usize {
    let files = messages(function);
    let mut wrong = Vec::new();
    for path in &files {
        let got: Value = serde_json::from_str(&call(&std::fs::read(path).unwrap())).unwrap();
        let beside = path.with_extension("json");
        if !beside.exists() && std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&beside, serde_json::to_string_pretty(&got).unwrap() + "\n").unwrap();
        }
        let text = std::fs::read_to_string(&beside).unwrap_or_else(|_| panic!("no {}", beside.display()));
        let wanted: Value = serde_json::from_str(&text).unwrap();
        if got != wanted {
            wrong.push(format!("{}:\n got {got:#}\n wanted {wanted:#}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    files.len()
}

#[test]
fn summarise() {
    let (stages, _) = common::stages(Dns::Off);
    let count = walk("summarise", |raw| {
        let json = stages.summarise(raw);
        let summary: Summary = serde_json::from_str(&json).unwrap();
        assert!(summary.preview.chars().count() <= 256);
        json
    });
    assert!(count >= 12);
}

#[test]
fn scan_virus() {
    let (stages, _) = common::stages(Dns::Off);
    let count = walk("scan_virus", |raw| {
        let mut verdict: VirusVerdict = serde_json::from_str(&stages.scan_virus(raw)).unwrap();
        assert_eq!(verdict.version, stages.rules_version());
        // The version changes with every rule; what is found is what a case is about.
        verdict.version = "any".to_owned();
        serde_json::to_string(&verdict).unwrap()
    });
    assert!(count >= 5);
}
