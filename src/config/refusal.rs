//! What is wrong with a configuration file, told without the secrets in it: TOML's own errors quote the line that they
//! are about, and go to the journal.

use std::io;
use std::str::Utf8Error;

use anyhow::anyhow;
use confique::Error;
use confique::meta::{FieldKind, Meta};

/// The refusal of the file `name`. As it stands where the line that it quotes can be shown, else with the place alone.
pub fn refusal(error: Error, name: &str, meta: &Meta) -> anyhow::Error {
    let Some(cause) = std::error::Error::source(&error) else { return error.into() };
    if cause.is::<io::Error>() || cause.is::<Utf8Error>() {
        return error.into();
    }
    let (said, names) = (cause.to_string(), Names::of(meta));
    let Some(Quoted { place, line }) = Quoted::in_error(&said) else {
        return anyhow!("{name} is not understood; compare it with what `millrace config example` prints");
    };
    if names.can_show(line) {
        return error.into();
    }
    match names.secret_in(line) {
        Some(key) => anyhow!(
            "{name}, {place}: {key} is not understood, and not shown since it is a secret; write it in quotes, as \
             {key} = \"…\", or name a file that holds it with {key}_file"
        ),
        None => anyhow!(
            "{name}, {place}: this is not understood, and not shown since it may hold a secret; a line is a key and its \
             value, which is in quotes if it is text, as `millrace config example` shows"
        ),
    }
}

/// The line that an error of TOML quotes.
struct Quoted<'a> {
    /// `line 3, column 7`.
    place: &'a str,
    line: &'a str,
}

impl<'a> Quoted<'a> {
    /// From `TOML parse error at line 3, column 7`, an empty line, and `3 | key = value`.
    fn in_error(said: &'a str) -> Option<Self> {
        let mut lines = said.lines();
        let place = lines.next()?.strip_prefix("TOML parse error at ")?;
        let (_, line) = lines.nth(1)?.split_once(" | ")?;
        Some(Self { place, line })
    }
}

/// The last parts of all keys.
struct Names {
    all: Vec<&'static str>,
    /// Those that a file can hold instead, which is what makes them secrets.
    secret: Vec<&'static str>,
}

impl Names {
    fn of(meta: &Meta) -> Self {
        let mut names = Self { all: Vec::new(), secret: Vec::new() };
        names.collect(meta);
        names
    }

    fn collect(&mut self, meta: &Meta) {
        for field in meta.fields {
            self.all.push(field.name);
            match field.kind {
                FieldKind::Nested { meta } => self.collect(meta),
                FieldKind::Leaf { .. } => {
                    let file = format!("{}_file", field.name);
                    if meta.fields.iter().any(|other| other.name == file) {
                        self.secret.push(field.name);
                    }
                }
            }
        }
    }

    /// Whether all that the line sets is known, and no secret. Not one without a key, which may go on with the value of
    /// the line before; nor one with a misspelt key, which may be that of a secret; nor a URL with a password in it.
    fn can_show(&self, line: &str) -> bool {
        if self.secret_in(line).is_some() || line.contains("://") && line.contains('@') {
            return false;
        }
        let mut parts: Vec<&str> = line.split('=').collect();
        parts.pop();
        let is_known = |word: &str| self.all.contains(&word);
        match parts.split_first() {
            None => line.trim_start().starts_with(['[', '#']),
            Some((key, within)) => {
                let mut named = words(key).peekable();
                named.peek().is_some()
                    && named.all(is_known)
                    && within.iter().all(|part| words(part).last().is_some_and(is_known))
            }
        }
    }

    fn secret_in(&self, line: &str) -> Option<&'static str> {
        let is_there = |secret: &&&'static str| words(line).any(|word| word == **secret);
        self.secret.iter().find(is_there).copied()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter));
    text.split(is_between).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use confique::Config as _;

    use super::*;
    use crate::config::Config;

    fn refusal_of(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, text).unwrap();
        format!("{:#}", Config::load(Some(&file)).unwrap_err())
    }

    #[test]
    fn every_hidden_key_counts_as_a_secret() {
        let hidden = [include_str!("../config.rs"), include_str!("cluster.rs")];
        let count = hidden.iter().flat_map(|text| text.lines()).filter(|line| line.ends_with("Hidden>,")).count();
        assert_eq!(Names::of(&Config::META).secret.len(), count);
    }

    #[test]
    fn a_secret_is_never_quoted() {
        for text in [
            "[kafka]\npassword = hunter2\n",
            "[kafka]\npassword = 20461\n",
            "[kafka]\npassword = [\"hunter2\"]\n",
            "[kafka]\npassword = \"hunter2\n",
            "[kafka]\npassword = 'hunter2'hunter2\n",
            "[kafka]\npassword = \"\"\"\nhunter2\n",
            "[kafka]\npassword =\nhunter2\n",
            "[kafka]\npassword hunter2\n",
            "[kafka]\n\"password\" = hunter2\n",
            "kafka.password = hunter2\n",
            "kafka = { tls = true, password = hunter2 }\n",
            "kafka = { tls = true, pasword = hunter2 }\n",
            "[kafka]\npasword = hunter2\n",
            "kafka.pasword = hunter2\n",
            "hunter2\n",
            "[redis]\nurl = redis://millrace:hunter2@redis\n",
            "[redis]\nurl = [\"redis://millrace:hunter2@redis\"]\n",
            "[s3]\nsecret_key = 20461\n",
            "[catalog]\ntoken = { hunter2 = 1 }\n",
            "[http]\nregistry_password = 20461.5\n",
            "[http]\nupload_key = hunter2\n",
        ] {
            let refusal = refusal_of(text);
            assert!(!refusal.contains("hunter2") && !refusal.contains("20461"), "{text}: {refusal}");
            assert!(refusal.contains("m.toml"), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_refusal_of_a_secret_says_where_it_is_and_how_it_is_written() {
        let refusal = refusal_of("[s3]\nregion = \"x\"\nsecret_key = 20461\n");
        for part in ["line 3, column 14", "secret_key = \"…\"", "secret_key_file"] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
    }

    #[test]
    fn other_lines_are_quoted() {
        for (text, quoted) in [
            ("[kafka]\npassword = \"hunter2\"\nbrokers = here\n", "brokers = here"),
            ("[kafka]\npassword = \"hunter2\"\npassword_file = 3\n", "password_file = 3"),
            ("kafka = { tls = \"yes\" }\n", "tls = \"yes\""),
            ("landing.interval_s = soon\n", "soon"),
            ("[smtp\n", "[smtp"),
        ] {
            let refusal = refusal_of(text);
            assert!(refusal.contains(quoted) && !refusal.contains("hunter2"), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_as_it_is() {
        let error = Config::load(Some(Path::new("/"))).unwrap_err();
        assert!(format!("{error:#}").contains("directory"), "{error:#}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        std::fs::write(&file, b"smtp = \"\xff\"").unwrap();
        let error = Config::load(Some(&file)).unwrap_err();
        assert!(format!("{error:#}").contains("utf-8"), "{error:#}");
    }
}
