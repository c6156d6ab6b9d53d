//! Opening the database again after a write or a sync failed.
//!
//! After a failed sync the operating system may show data that is not on disk and will never be written. So the
//! journal is first copied to a new file that is synced, which makes what we read of it true; then whatever the failed
//! batch left is undone, since its callers were told that nothing happened.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::groups::{parse_position_key, position_key};
use super::shared::{Shared, load_ends};
use super::store::{End, Store, explain};

/// The way back from a failure, tried again until it succeeds.
pub(crate) struct Repair {
    /// Dropped when the last reader has let go of it.
    failed: Option<Arc<Store>>,
}

impl Repair {
    pub(crate) fn of(failed: Arc<Store>) -> Self {
        Self { failed: Some(failed) }
    }

    /// Opens the database again, exactly as it was when `ends` were its ends.
    pub(crate) fn attempt(&mut self, shared: &Shared, ends: &[End]) -> Result<Arc<Store>, String> {
        if let Some(store) = self.failed.take() {
            match Arc::try_unwrap(store) {
                Ok(store) => drop(store),
                Err(store) => {
                    self.failed = Some(store);
                    return Err("it waits for readers before it is opened again".to_owned());
                }
            }
        }
        rewrite_newest_journal(&shared.dir).map_err(|error| format!("the disk says: {error}"))?;
        let store = Store::open(&shared.dir, &shared.options, &shared.layout, shared.disk.clone())
            .map_err(|error| error.to_string())?;
        undo(shared, &store, ends)?;
        Ok(Arc::new(store))
    }
}

/// Takes back what a failed batch left: records behind the ends, and moved positions.
fn undo(shared: &Shared, store: &Store, ends: &[End]) -> Result<(), String> {
    let mut batch = store.database.batch();
    for (slot, (kept, found)) in ends.iter().zip(load_ends(store, &shared.layout)?).enumerate() {
        let (topic, partition) = shared.layout.at(slot);
        for offset in kept.next..found.next {
            batch.remove(&store.partitions[slot], offset.to_be_bytes());
        }
        if found.next < kept.next {
            let (found, expected) = (found.next, kept.next);
            tracing::error!(%topic, partition, found, expected, "acknowledged records are gone from the disk");
        }
        batch.insert(&store.bounds, super::store::end_key(topic, partition), kept.encode());
    }
    let kept = shared.groups.positions().into_iter();
    let kept: HashMap<Vec<u8>, u64> =
        kept.map(|(group, topic, partition, offset)| (position_key(&group, topic, partition), offset)).collect();
    for entry in store.positions.iter() {
        let key = entry.key().map_err(|error| explain(&error))?;
        // A group's first position; those of topics that are no more are left alone.
        if !kept.contains_key(&*key) && parse_position_key(&key).is_some() {
            batch.remove(&store.positions, key);
        }
    }
    for (key, offset) in kept {
        batch.insert(&store.positions, key, offset.to_be_bytes());
    }
    store.commit(batch)
}

fn rewrite_newest_journal(dir: &Path) -> io::Result<()> {
    let journal_number =
        |path: &PathBuf| -> Option<u64> { path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok() };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some(number) = journal_number(&path) {
            newest = newest.max(Some((number, path)));
        }
    }
    let Some((_, path)) = newest else { return Ok(()) };
    let copy = dir.join("journal.copy");
    copy_and_sync(&path, &copy)?;
    fs::rename(&copy, &path)?;
    File::open(dir)?.sync_all()
}

/// Journals are allocated ahead, so the zeros at the end are left as a hole.
fn copy_and_sync(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create(to)?;
    let mut chunk = vec![0; 1024 * 1024];
    let mut held_back_zeros = 0_u64;
    loop {
        let len = source.read(&mut chunk)?;
        if len == 0 {
            break;
        }
        if chunk[..len].iter().all(|byte| *byte == 0) {
            held_back_zeros += len as u64;
            continue;
        }
        io::copy(&mut io::repeat(0).take(std::mem::take(&mut held_back_zeros)), &mut target)?;
        target.write_all(&chunk[..len])?;
    }
    target.set_len(source.metadata()?.len())?;
    target.sync_all()
}
