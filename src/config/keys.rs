//! Keys of a configuration file that mean nothing here: misspelt, most likely, and what they were to change is not.

use anyhow::bail;
use confique::meta::{FieldKind, Meta};
use confique::{Error, File, Layer};
use serde::Deserialize;
use serde_json::Value;

use super::refusal::refusal;

/// Refuses a file with keys that `meta` does not have.
///
/// # Errors
/// Every such key and, where one is near, the one that was perhaps meant.
pub fn check(file: &File, name: &str, meta: &Meta) -> anyhow::Result<()> {
    let Tree(tree) = file.load().map_err(|error| refusal(error, name, meta))?;
    let mut unknown = Vec::new();
    collect_unknown(&tree, meta, "", &mut unknown);
    if unknown.is_empty() {
        return Ok(());
    }
    let known = all(meta, "");
    let hints = unknown.iter().map(|key| match nearest(key, &known) {
        Some(near) => format!("{key} (perhaps {near} is meant)"),
        None => key.clone(),
    });
    let hints: Vec<_> = hints.collect();
    bail!("{name} has keys that mean nothing: {}; `millrace config example` shows those there are", hints.join(", "))
}

/// A file as it stands, whatever is in it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Tree(Value);

impl Layer for Tree {
    fn empty() -> Self {
        Self(Value::Null)
    }

    fn default_values() -> Self {
        Self::empty()
    }

    fn from_env() -> Result<Self, Error> {
        Ok(Self::empty())
    }

    fn with_fallback(self, fallback: Self) -> Self {
        if self.is_empty() { fallback } else { self }
    }

    fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    fn is_complete(&self) -> bool {
        true
    }
}

fn collect_unknown(tree: &Value, meta: &Meta, prefix: &str, unknown: &mut Vec<String>) {
    for (name, value) in tree.as_object().into_iter().flatten() {
        let key = format!("{prefix}{name}");
        match meta.fields.iter().find(|field| field.name == name).map(|field| field.kind) {
            None => unknown.push(key),
            Some(FieldKind::Nested { meta }) => collect_unknown(value, meta, &format!("{key}."), unknown),
            Some(FieldKind::Leaf { .. }) => {}
        }
    }
}

/// All keys, tables among them.
fn all(meta: &Meta, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for field in meta.fields {
        let key = format!("{prefix}{}", field.name);
        if let FieldKind::Nested { meta } = field.kind {
            keys.extend(all(meta, &format!("{key}.")));
        }
        keys.push(key);
    }
    keys
}

/// The known key that is spelt most like `key`. One of the same name in another table counts as one letter off.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let near = |known: &&String| distance(key, known).min(1 + distance(&name(key), &name(known)));
    let nearest = known.iter().min_by_key(|known| (near(known), distance(key, known)))?;
    (near(&nearest) <= 1 + name(key).chars().count() / 4).then_some(nearest)
}

/// How many letters to put in, take out or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use confique::Config as _;

    use super::*;
    use crate::config::Config;

    #[test]
    fn letters_are_counted() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("listn", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn the_nearest_key_is_found_here_or_in_another_table() {
        let known = all(&Config::META, "");
        let near = |key| nearest(key, &known).map(String::as_str);
        assert_eq!(near("landing.intervall_s"), Some("landing.interval_s"));
        assert_eq!(near("smtp.listn"), Some("smtp.listen"));
        assert_eq!(near("https.listen"), Some("http.listen"));
        assert_eq!(near("partitions"), Some("log.partitions"));
        assert_eq!(near("landin"), Some("landing"));
        assert_eq!(near("colour"), None);
        assert_eq!(near("smtp.colour"), None);
    }
}
