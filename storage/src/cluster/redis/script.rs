//! Scripts, by the names that metrics call them.

use std::sync::LazyLock;

use fred::types::scripts;

/// A script, parsed when it is first wanted.
pub(super) struct Script {
    pub(super) name: &'static str,
    parsed: LazyLock<scripts::Script>,
}

impl Script {
    /// `parse` gives the script.
    pub(super) const fn new(name: &'static str, parse: fn() -> scripts::Script) -> Self {
        Self { name, parsed: LazyLock::new(parse) }
    }

    pub(super) fn parsed(&self) -> &scripts::Script {
        &self.parsed
    }
}

/// One of the files of `scripts/`, behind what several of them begin with.
macro_rules! script {
    ($name:literal $(, after $start:literal)?) => {
        $crate::cluster::redis::script::Script::new($name, || {
            fred::types::scripts::Script::from_lua(concat!(
                $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster/redis/scripts/", $start, ".lua")),)?
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cluster/redis/scripts/", $name, ".lua"))
            ))
        })
    };
}
pub(super) use script;
