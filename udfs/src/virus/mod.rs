//! scan_virus: YARA rules over the message's bytes and over every decoded part.

mod archive;
mod objects;
mod rules;

use std::path::Path;

use boreal::Scanner;
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use rules::RuleError;

use crate::guard::{error_value, guarded};
use objects::Object;

/// Matches kept.
const MAX_MATCHES: usize = 50;

/// What the rules said of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirusVerdict {
    pub engine: String,
    /// Hash of the rules that were used.
    pub version: String,
    /// Names of the rules that matched, in the order found.
    pub matches: Vec<String>,
    /// The first match; null for a clean message.
    pub name: Option<String>,
    /// Whether some of the message was beyond the limits and was not looked at.
    pub is_partial: bool,
}

/// Compiled rules. Compiling takes milliseconds; scanning shares the result between threads.
pub(crate) struct VirusScanner {
    scanner: Scanner,
    version: String,
}

impl VirusScanner {
    /// Compiles the built-in rules, and those of `rules_dir` (`*.yar`, `*.yara`) if given.
    pub(crate) fn new(rules_dir: Option<&Path>) -> Result<Self, RuleError> {
        let rules = rules::load(rules_dir)?;
        Ok(Self { scanner: rules.scanner, version: rules.version })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn scan(&self, raw: &[u8]) -> String {
        let verdict = guarded("scan virus", || self.verdict(raw));
        match verdict.map(|verdict| serde_json::to_string(&verdict)) {
            Ok(Ok(json)) => json,
            Ok(Err(error)) => error_value(&error.to_string(), &self.version),
            Err(reason) => error_value(&reason, &self.version),
        }
    }

    fn verdict(&self, raw: &[u8]) -> VirusVerdict {
        let mut matches = Vec::new();
        let mut is_partial = false;
        is_partial |= objects::for_each(raw, &mut |object| {
            is_partial |= !self.scan_object(object, &mut matches);
        });
        VirusVerdict {
            engine: "yara/boreal".to_owned(),
            version: self.version.clone(),
            name: matches.first().cloned(),
            matches,
            is_partial,
        }
    }

    /// Whether the object was scanned to its end.
    fn scan_object(&self, object: &Object<'_>, matches: &mut Vec<String>) -> bool {
        let mut scanner = self.scanner.clone();
        for (name, value) in [(rules::FILENAME, object.name), (rules::ENTRIES, object.entries)] {
            if scanner.define_symbol(name, value).is_err() {
                warn!(name, "a variable of the rules cannot be set");
            }
        }
        let (result, is_whole) = match scanner.scan_mem(object.bytes) {
            Ok(result) => (result, true),
            Err((error, result)) => {
                warn!(%error, bytes = object.bytes.len(), "virus scan ended early");
                (result, false)
            }
        };
        for rule in &result.rules {
            if matches.len() < MAX_MATCHES && !matches.iter().any(|name| name == rule.name) {
                matches.push(rule.name.to_owned());
            }
        }
        is_whole
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
