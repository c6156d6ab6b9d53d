//! What a shard is at one moment: the object that names all others.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tantivy::IndexMeta;

use crate::mail::search::error::SearchError;
use crate::mail::search::index;
use crate::mail::search::schema::Fields;

const FORMAT: u32 = 1;

/// A shard at one moment. Replaced as a whole, and only by who knows the one before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// Rises with every claim; part of the names of objects, so that two owners never make the same name.
    pub(super) epoch: u64,
    /// Names the owner's claim, or who asked for a rebuild. One that finds another's here writes no more.
    pub(super) claim: String,
    /// Rises with every manifest of a claim, so that each has an entity tag of its own.
    pub(super) publication: u64,
    /// Asks the next owner to make the shard again from the tables; says who asked.
    pub(super) rebuild: Option<String>,
    /// The last rebuild that was done.
    pub(super) rebuilt: Option<Rebuilt>,
    /// `meta.json` of the index: segments, schema, and the positions as its payload.
    pub(super) meta: Value,
    pub(super) objects: Vec<Object>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rebuilt {
    /// Who asked.
    pub(super) request: String,
    pub(super) indexed: u64,
}

/// An object with files of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// `<epoch>-<segment>`, or `<epoch>-<publication>-deletes`.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Of all of it, as hexadecimal text.
    pub(super) blake3: String,
}

impl Manifest {
    /// A shard that has nothing and has indexed nothing.
    pub(super) fn empty() -> Self {
        let mut manifest = Self {
            format: FORMAT,
            epoch: 0,
            claim: String::new(),
            publication: 0,
            rebuild: None,
            rebuilt: None,
            meta: Value::Null,
            objects: Vec::new(),
        };
        manifest.clear();
        manifest
    }

    /// Names no documents and no positions any more.
    pub(super) fn clear(&mut self) {
        let meta = IndexMeta::with_schema(Fields::new().0);
        self.meta = serde_json::to_value(meta).expect("an index without segments has a JSON form");
        self.objects.clear();
    }

    /// The successor by which someone takes the shard from its owner.
    pub(super) fn claimed(&self, claim: String) -> Self {
        Self { epoch: self.epoch + 1, claim, publication: 0, ..self.clone() }
    }

    /// How far the partition is indexed; `None` when nothing ever was.
    pub(super) fn position(&self, partition: u32) -> Result<Option<u64>, SearchError> {
        let payload = self.meta.get("payload").and_then(Value::as_str);
        Ok(index::positions(payload)?.map(|positions| positions.get(&partition).copied().unwrap_or(0)))
    }

    /// Whether this version can search what is named here.
    pub(super) fn has_our_fields(&self) -> bool {
        let ours = serde_json::to_value(Fields::new().0).ok();
        self.meta.get("schema") == ours.as_ref()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has a JSON form")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let text: Value = serde_json::from_slice(bytes).map_err(|error| Unreadable::new(error, None))?;
        let number = |name| text.get(name).and_then(Value::as_u64);
        let (format, epoch) = (number("format"), number("epoch"));
        if let Some(format) = format.filter(|format| *format != u64::from(FORMAT)) {
            let reason = format!("it is of format {format}, and this version reads {FORMAT}");
            return Err(Unreadable { is_newer: format > u64::from(FORMAT), ..Unreadable::new(reason, epoch) });
        }
        let manifest: Self = serde_json::from_value(text).map_err(|error| Unreadable::new(error, epoch))?;
        if manifest.objects.iter().any(|object| !is_object_name(&object.name)) {
            return Err(Unreadable::new("it names an object that no indexer made", epoch));
        }
        Ok(manifest)
    }
}

/// What is in the place of a manifest and is none, as far as this version can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: String,
    /// A newer version of ours may have made it.
    pub(super) is_newer: bool,
    /// What it says of its epoch; 0 when nothing.
    pub(super) epoch: u64,
}

impl Unreadable {
    fn new(reason: impl ToString, epoch: Option<u64>) -> Self {
        // What is damaged may say anything; others follow it.
        let epoch = epoch.filter(|epoch| *epoch < u64::MAX / 2).unwrap_or(0);
        Self { reason: reason.to_string(), is_newer: false, epoch }
    }
}

/// Nothing that could lead out of the shard's folder.
fn is_object_name(name: &str) -> bool {
    epoch_of(name).is_some() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The epoch in which an object was made.
pub(super) fn epoch_of(name: &str) -> Option<u64> {
    name.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_manifest_comes_back_and_a_strange_one_is_refused() {
        let mut manifest = Manifest::empty().claimed("me".to_owned());
        manifest.objects.push(Object { name: "1-abc".into(), bytes: 3, blake3: "x".into() });
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        assert!(manifest.has_our_fields());
        assert_eq!(manifest.position(3).unwrap(), None);
        manifest.objects[0].name = "1-../x".into();
        assert!(Manifest::decode(&manifest.encode()).is_err());
        manifest.objects.clear();
        manifest.format = 2;
        let newer = Manifest::decode(&manifest.encode()).unwrap_err();
        assert!(newer.reason.contains("format 2") && newer.is_newer && newer.epoch == 1);
        assert_eq!(Manifest::decode(br#"{"format":2,"epoch":7}"#).unwrap_err().epoch, 7);
        for damaged in [&b"{"[..], br#"{"format":1}"#, br#"{"format":0}"#, b"3"] {
            assert!(!Manifest::decode(damaged).unwrap_err().is_newer);
        }
    }
}
