//! What the libraries work on: messages, bodies in packs, and the linked-in functions to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use millrace_arroyo_harness::source_root;
use millrace_storage::embedded::{EmbeddedPacks, PackOptions};
use millrace_storage::first_seen::FirstSeenError;
use millrace_storage::{BlobStore, Claim, FirstSeen};
use millrace_udfs::{Dns, StageOptions, Stages};

/// How long the libraries wait for a store.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Times that the messages are stored as bodies.
const COPIES: usize = 3;

pub struct World {
    data_dir: PathBuf,
    pub messages: Vec<Vec<u8>>,
    /// With their references.
    pub bodies: Vec<(String, Vec<u8>)>,
    pub stages: Stages,
}

impl World {
    /// The one that all tests share, since the libraries read the environment once.
    pub fn get() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        // On a thread of its own: tests that wait are on a runtime already, and making the world needs one.
        WORLD.get_or_init(|| std::thread::spawn(World::new).join().unwrap())
    }

    fn new() -> Self {
        let data_dir = tempfile::tempdir().unwrap().keep();
        let settings = [
            ("MILLRACE_STORAGE", "embedded".to_owned()),
            ("MILLRACE_DATA_DIR", data_dir.to_string_lossy().into_owned()),
            ("MILLRACE_SCREENING_DNS", "off".to_owned()),
            ("MILLRACE_SCREENING_PATIENCE_S", PATIENCE.as_secs().to_string()),
        ];
        for (name, value) in settings {
            // SAFETY: no library has been called yet, and tests read no environment.
            unsafe { std::env::set_var(name, value) };
        }
        let mut messages = Vec::new();
        for folder in ["udfs/fixtures", "tests/corpus-sample"] {
            gather(&source_root().join(folder), &mut messages);
        }
        assert!(messages.len() > 30, "{} messages", messages.len());
        let blobs = Arc::new(EmbeddedPacks::open(&data_dir.join("blobs"), PackOptions::default()).unwrap());
        let bodies = store(&blobs, &messages);
        let options = StageOptions { blobs, first_seen: Arc::new(Nobody), dns: Dns::Off, rules_dir: None };
        Self { data_dir, messages, bodies, stages: Stages::new(options).unwrap() }
    }

    /// A reference to a body whose pack never answers: a pipe that nobody writes to.
    pub fn hanging_body(&self) -> String {
        let name = "2026-11-23/01JDCMZZZZZZZZZZZZZZZZZZZZ.pack";
        let path = self.data_dir.join("blobs").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        format!("{name}:16:100")
    }
}

/// Every file below `folder` that is a message.
fn gather(folder: &Path, messages: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, messages);
        } else if !path.extension().is_some_and(|kind| kind == "json" || kind == "md") {
            messages.push(std::fs::read(&path).unwrap());
        }
    }
}

fn store(blobs: &EmbeddedPacks, messages: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let all = std::iter::repeat_n(messages, COPIES).flatten();
    let put = |raw: &Vec<u8>| (runtime.block_on(blobs.put(raw.clone().into())).unwrap().to_string(), raw.clone());
    all.map(put).collect()
}

/// A first-seen that nobody asks.
struct Nobody;

#[async_trait]
impl FirstSeen for Nobody {
    async fn claim(&self, _: [u8; 32], _: &str, _: i64) -> Result<Claim, FirstSeenError> {
        Err(FirstSeenError("nobody is here".to_owned()))
    }

    async fn expire(&self, _: i64) -> Result<u64, FirstSeenError> {
        Ok(0)
    }
}
