//! Taking a shard over: a claim that ends its former owner's, then its objects, then a rebuild where the log no longer
//! has what is missing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use millrace_schemas::Topic;
use uuid::Uuid;

use super::Shards;
use super::directory::ShardDirectory;
use super::manifest::{Manifest, Rebuilt, epoch_of};
use super::owned::{Owned, Ownership};
use super::publisher::Publisher;
use super::store::{Before, Replaced, Stored};
use crate::mail::search::error::SearchError;
use crate::mail::search::index::{TextIndex, WriterLimits};
use crate::mail::search::indexer::Inputs;
use crate::mail::search::rebuild::{Scope, rebuild};
use crate::mail::search::writing::Writing;

/// Segments with more emails are merged no more, so that none has more than some 200,000 or 300 MB: new mail waits for a
/// merged segment to be stored, and everybody who searches the shard fetches it.
const MERGED_DOCUMENTS: usize = 20_000;

/// Makes the shard ours.
///
/// # Errors
/// [`SearchError::Fenced`] when another takes it at the same time, which then has it.
pub(super) async fn restore(shards: Arc<Shards>, partition: u32, inputs: Inputs) -> Result<Owned, SearchError> {
    let turn = shards.restoring.acquire().await;
    let begun = Instant::now();
    let shard = shards.shard(partition)?;
    // Nobody fetches or drops files meanwhile.
    let files = shard.remote.files.lock().await;
    let ownership = Ownership::new(shards.clone(), partition);
    let (mut stored, leftovers) = claim(&shards, partition, &inputs).await?;
    let (index, directory) = match fetch(&shards, partition, &stored).await {
        Ok(opened) => opened,
        // One that is to be made again need not be opened for that.
        Err(error) if is_damage(&error) || stored.manifest.rebuild.is_some() && !is_passing(&error) => {
            tracing::error!(partition, %error, "a search index cannot be restored and is made again from the tables");
            stored.manifest.rebuild.get_or_insert_with(|| stored.manifest.claim.clone());
            create(&shards, partition, &stored.manifest).await?
        }
        Err(error) => return Err(error),
    };
    drop((files, turn));
    metrics::counter!("millrace_search_restores_total").increment(1);
    metrics::histogram!("millrace_search_restore_seconds").record(begun.elapsed());
    let bytes = shards.options.writing.writer_bytes;
    let mut writing = Writing::new(index.clone(), WriterLimits { bytes, merged_documents: Some(MERGED_DOCUMENTS) });
    let request = stored.manifest.rebuild.clone();
    let mut publisher = Publisher::new(&shards, shard.store.clone(), directory, index.clone(), stored, leftovers)?;
    if let Some(request) = request {
        let _turn = shards.rebuilding.acquire().await;
        tracing::info!(partition, "a search index is made again from the tables");
        let scope = Scope { partitions: shards.partitions(), only: Some(partition) };
        let done = rebuild(&mut writing, &inputs.tables, inputs.blobs.as_ref(), scope, |_| {}).await?;
        tracing::info!(partition, emails = done.indexed, "a search index was made again from the tables");
        publisher.rebuilt(Rebuilt { request, indexed: done.indexed });
    }
    let next = index.positions()?.and_then(|positions| positions.get(&partition).copied()).unwrap_or(0);
    Ok(Owned::new(ownership, writing, publisher, next))
}

fn is_passing(error: &SearchError) -> bool {
    matches!(error, SearchError::Store(_))
}

/// Whether what the store has cannot be used, rather than got.
fn is_damage(error: &SearchError) -> bool {
    match error {
        SearchError::Damaged { .. } | SearchError::Missing { .. } | SearchError::Positions(_) => true,
        SearchError::Index(error) => !matches!(error, tantivy::TantivyError::IoError(_)),
        _ => false,
    }
}

/// Puts our claim in the place of the former owner's, which can publish no more from here on. Also names the objects of
/// former owners that no manifest can ever name again.
async fn claim(shards: &Shards, partition: u32, inputs: &Inputs) -> Result<(Stored, Vec<String>), SearchError> {
    let store = &shards.shard(partition)?.store;
    let Before { manifest: before, version, mut listed } = store.before(Replaced::Damaged).await?;
    let mut manifest = before.claimed(Uuid::now_v7().to_string());
    let (kept_from, _) = inputs.log.bounds(Topic::MailboxChanges, partition).await?;
    judge(&mut manifest, partition, kept_from);
    let stored = store.replace(version, manifest).await?;
    let Manifest { epoch, objects, .. } = &stored.manifest;
    let is_named = |name: &String| objects.iter().any(|object| object.name == *name);
    // Those of this epoch and of later ones are not ours to judge.
    listed.retain(|name| epoch_of(name).is_some_and(|made_in| made_in < *epoch) && !is_named(name));
    Ok((stored, listed))
}

/// Lets go of what this version cannot search, and asks for a rebuild where the log, kept from `kept_from` on, does not have
/// what is missing.
fn judge(manifest: &mut Manifest, partition: u32, kept_from: u64) {
    if !manifest.has_our_fields() {
        tracing::warn!(partition, "the search index is of another version and is made again");
        manifest.clear();
    }
    let position = manifest.position(partition);
    if let Err(error) = &position {
        tracing::error!(partition, %error, "the search index does not tell how far it is, and is made again");
        manifest.clear();
        manifest.rebuild.get_or_insert_with(|| manifest.claim.clone());
    }
    if position.ok().flatten().unwrap_or(0) < kept_from {
        tracing::warn!(partition, "the search index lacks mail that the log no longer has");
        manifest.rebuild.get_or_insert_with(|| manifest.claim.clone());
    }
}

/// Fetches what the manifest names and opens it for writing.
async fn fetch(
    shards: &Shards,
    partition: u32,
    stored: &Stored,
) -> Result<(Arc<TextIndex>, ShardDirectory), SearchError> {
    shards.cache.fetch(&shards.shard(partition)?.store, &stored.manifest.objects).await?;
    let (_, objects) = shards.cache.objects(partition)?;
    let work = shards.cache.work(partition, stored.manifest.epoch)?;
    let manifest = stored.manifest.clone();
    tokio::task::spawn_blocking(move || {
        let directory = ShardDirectory::writing(objects, &work)?;
        // The index deletes what it has in its list, also when it is in an object.
        let mut managed = vec![PathBuf::from("meta.json")];
        for object in &manifest.objects {
            managed.extend(directory.add(&object.name)?);
        }
        std::fs::write(work.join("meta.json"), manifest.meta.to_string())?;
        std::fs::write(work.join(".managed.json"), serde_json::to_vec(&managed).map_err(std::io::Error::from)?)?;
        Ok((TextIndex::open(directory.clone())?, directory))
    })
    .await?
}

/// An empty index, for a shard whose objects cannot be used.
async fn create(
    shards: &Shards,
    partition: u32,
    manifest: &Manifest,
) -> Result<(Arc<TextIndex>, ShardDirectory), SearchError> {
    let (_, objects) = shards.cache.objects(partition)?;
    let work = shards.cache.work(partition, manifest.epoch)?;
    tokio::task::spawn_blocking(move || {
        let directory = ShardDirectory::writing(objects, &work)?;
        Ok((TextIndex::create(directory.clone())?, directory))
    })
    .await?
}
