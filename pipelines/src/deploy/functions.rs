//! The one-file functions that pipelines call, as Arroyo is given them.

use std::fmt;

use millrace_udfs::hosted::VERSION;

/// What the line begins with that says which crate a function was made for.
const STAMP: &str = "// millrace-udfs ";

/// A one-file function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: &'static str,
    text: &'static str,
}

macro_rules! one_file {
    ($($name:literal),*) => {
        [$(Function { name: $name, text: include_str!(concat!("../../../udfs/arroyo/", $name, ".rs")) }),*]
    };
}

pub(crate) const ALL: [Function; 6] =
    one_file!["fetch_body", "summarise", "authenticate", "scan_virus", "score_spam", "first_seen"];

impl Function {
    /// The text that Arroyo compiles. It keeps a compiled library by the text alone, so the crate's version and the
    /// fingerprint of its sources stand in it; and it does not compile from other sources than ours.
    pub fn definition(&self) -> String {
        let mut definition = String::with_capacity(self.text.len() + 200);
        for line in self.text.lines() {
            definition += if line.starts_with(STAMP) { STAMP } else { line };
            if line.starts_with(STAMP) {
                definition += VERSION;
            }
            definition.push('\n');
        }
        definition + &format!("\nconst _: () = millrace_udfs::hosted::built_from(\"{VERSION}\");\n")
    }
}

/// What stands at Arroyo of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionState {
    /// It was there as it should be.
    Unchanged,
    Made,
    /// An older one was there.
    Replaced,
}

impl fmt::Display for FunctionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unchanged => "unchanged",
            Self::Made => "made",
            Self::Replaced => "replaced",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn every_function_of_the_runner_is_one_file_and_waits_where_it_does_there() {
        let names: Vec<&str> = ALL.iter().map(|function| function.name).collect();
        assert_eq!(names, link::names());
        for function in ALL {
            let waits = function.text.contains(&format!("\nasync fn {}(", function.name));
            let is_plain = function.text.contains(&format!("\nfn {}(", function.name));
            assert_eq!((waits, is_plain), (link::is_async(function.name), !link::is_async(function.name)));
        }
    }

    #[test]
    fn a_function_is_in_the_form_that_arroyo_reads() {
        for function in ALL {
            let definition = function.definition();
            assert!(definition.starts_with("/*\n[dependencies]\n"), "{definition}");
            assert_eq!(definition.matches("[dependencies]").count(), 1);
            assert_eq!(definition.matches("#[udf").count(), 1);
            assert!(definition.contains(&format!("\n// millrace-udfs {VERSION}\n")), "{definition}");
        }
    }

    #[test]
    fn no_call_can_take_as_long_as_arroyo_waits_for_it() {
        for function in ALL.into_iter().filter(|function| link::is_async(function.name)) {
            let (_, rest) = function.text.split_once("timeout = \"").unwrap();
            let seconds: u64 = rest.split_once("s\"").unwrap().0.parse().unwrap();
            let bound =
                if function.name == "authenticate" { 30 } else { millrace_udfs::hosted::LONGEST_CALL.as_secs() };
            assert!(seconds >= bound + 60, "{}: {seconds} s", function.name);
        }
    }
}
