//! A fingerprint of the sources that make the stage functions. Arroyo keeps a compiled library by the text of its one
//! file and does not see that a crate behind it changed, so the deployer writes this fingerprint into the text.
//!
//! Of what they depend on it holds the versions, of nothing else in the repository: another crate of the workspace may
//! change what it depends on, and no pipeline is deployed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a stage function is made of, seen from this crate.
const SOURCES: [&str; 10] = [
    "Cargo.toml",
    "src",
    "rules",
    "model",
    "../storage/Cargo.toml",
    "../storage/src",
    "../schemas/Cargo.toml",
    "../schemas/registry.json",
    "../schemas/avro",
    "../schemas/src",
];
/// Which versions there are.
const LOCK: &str = "../Cargo.lock";
/// Which are asked for, and with which features.
const WORKSPACE: &str = "../Cargo.toml";

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        gather(&root.join(source), &mut files);
    }
    files.sort();
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for file in &files {
        let bytes = std::fs::read(file).expect("a source that was listed can be read");
        hash.add(file.strip_prefix(&root).unwrap_or(file).to_string_lossy().as_bytes());
        hash.add(&(bytes.len() as u64).to_le_bytes());
        hash.add(&bytes);
    }
    let text = |file: &str| {
        println!("cargo::rerun-if-changed={file}");
        std::fs::read_to_string(root.join(file)).expect("the crate is built in its repository, which has this file")
    };
    for line in dependencies(&text(LOCK), &text(WORKSPACE)) {
        hash.add(line.as_bytes());
        hash.add(b"\n");
    }
    println!("cargo::rustc-env=MILLRACE_UDFS_FINGERPRINT={:016x}", hash.0);
}

/// Every crate that this one depends on, near or far: its version in the lock file, and its line in the workspace's table.
fn dependencies(lock: &str, workspace: &str) -> BTreeSet<String> {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or_default();
        packages.entry(name.trim_matches('"')).or_default().push(package);
    }
    let (mut found, mut lines) = (BTreeSet::from(["millrace-udfs"]), BTreeSet::new());
    let mut left = vec!["millrace-udfs"];
    while let Some(package) = left.pop().and_then(|name| packages.get(name)) {
        for line in package.iter().flat_map(|package| package.lines()) {
            // ` "name",`, and with a version behind the name where there are several.
            let dependency = line.strip_prefix(" \"").and_then(|line| line.split([' ', '"']).next());
            if let Some(name) = dependency.filter(|name| found.insert(name)) {
                left.push(name);
            }
        }
        lines.insert(package.concat());
    }
    let asked = workspace.lines().filter(|line| line.split_once(" = ").is_some_and(|(name, _)| found.contains(name)));
    lines.extend(asked.map(str::to_owned));
    lines
}

fn gather(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a folder of sources can be read");
        for entry in entries {
            gather(&entry.expect("a folder of sources can be read").path(), files);
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
}

/// FNV-1a: the same on every machine and with every compiler, which is all that is asked of it.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
