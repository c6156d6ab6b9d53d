//! What the local runner refuses, each with the construct's name and its line: `refused/error_*.sql`, whose first line
//! says what the refusal must say. The tables of `refused/prelude.sql` stand before each, on its first line.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use millrace_pipelines::{Pipeline, built_in};

#[test]
fn each_construct_is_refused_by_name_and_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused");
    let prelude = std::fs::read_to_string(folder.join("prelude.sql")).unwrap().replace('\n', " ");
    let (mut tried, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("error_") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted =
            text.lines().next().unwrap().strip_prefix("-- refused: ").expect("first line says what is expected");
        match Pipeline::load(&name, &format!("{prelude}{text}")) {
            Ok(_) => wrong.push(format!("{name}: loaded, but wanted: {wanted}")),
            Err(error) if !error.to_string().contains(wanted) => {
                wrong.push(format!("{name}:\n  wanted: {wanted}\n  got:    {error}"));
            }
            Err(error) => assert!(error.to_string().contains(&name), "{error} does not name the pipeline"),
        }
        tried += 1;
    }
    assert!(tried > 45, "only {tried} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn built_in_pipelines_load() {
    for pipeline in built_in().unwrap() {
        assert!(!pipeline.sinks().is_empty(), "{}", pipeline.name());
    }
}
