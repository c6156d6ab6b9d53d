//! A fingerprint of the sources that make the stage functions. Arroyo keeps a compiled library by the text of its one
//! file and does not see that a crate behind it changed, so the deployer writes this fingerprint into the text.

use std::path::{Path, PathBuf};

/// What a stage function is made of, seen from this crate.
const SOURCES: [&str; 6] = ["Cargo.toml", "src", "rules", "model", "../storage/src", "../schemas/src"];

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
    println!("cargo::rustc-env=MILLRACE_UDFS_FINGERPRINT={:016x}", hash.0);
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
