//! The configuration of a hosted stage function: environment variables named `MILLRACE_<TABLE>_<KEY>`, as everywhere.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::bounds::{DEFAULT_PATIENCE, LONGEST_CALL};
use super::services::Services;
use crate::authenticate::Dns;

/// What the stage functions of this process work with.
#[derive(Debug)]
pub(super) struct Settings {
    /// Or why it is not known where: the functions that need no store do without, and the others wait as for one that is
    /// away.
    pub(super) storage: Result<Storage, String>,
    /// `MILLRACE_SCREENING_DNS`: whom `authenticate` asks.
    pub(super) dns: Dns,
    /// `MILLRACE_SCREENING_RULES_DIR`: virus rules of the operator's own.
    pub(super) rules_dir: Option<PathBuf>,
    /// `MILLRACE_SCREENING_PATIENCE_S`: how long a store may be away before records become dead letters.
    pub(super) patience: Duration,
}

/// `MILLRACE_STORAGE`: where bodies and claims are.
#[derive(Debug)]
pub(super) enum Storage {
    /// The folder `MILLRACE_DATA_DIR` of a process on this machine.
    Embedded { data_dir: PathBuf },
    /// S3 and Redis.
    Cluster(Box<Services>),
}

impl Settings {
    /// Those of this process, read once.
    ///
    /// # Errors
    /// A variable cannot be read: its name, and what it takes.
    pub(super) fn get() -> Result<&'static Self, String> {
        static SETTINGS: OnceLock<Result<Settings, String>> = OnceLock::new();
        let read = SETTINGS.get_or_init(|| Self::read(|name| std::env::var(name).ok()));
        read.as_ref().map_err(Clone::clone)
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            storage: Storage::read(&variable),
            dns: dns(variable("MILLRACE_SCREENING_DNS").as_deref().unwrap_or("system"))?,
            rules_dir: variable("MILLRACE_SCREENING_RULES_DIR").map(PathBuf::from),
            patience: patience(variable("MILLRACE_SCREENING_PATIENCE_S").as_deref())?,
        })
    }
}

impl Storage {
    /// Nothing is taken for granted: a worker that looked into a folder of its own would find no mail, and make a dead
    /// letter of each.
    fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        match variable("MILLRACE_STORAGE").as_deref() {
            Some("embedded") => {
                let data_dir = variable("MILLRACE_DATA_DIR").unwrap_or_else(|| "./millrace-data".to_owned());
                Ok(Self::Embedded { data_dir: data_dir.into() })
            }
            Some("cluster") => Ok(Self::Cluster(Box::new(Services::read(variable)?))),
            Some(other) => Err(format!("MILLRACE_STORAGE is '{other}': it is embedded or cluster")),
            None => {
                Err("MILLRACE_STORAGE is not set, so it is not known where bodies and claims are: set it to cluster, \
                         and MILLRACE_S3_… and MILLRACE_REDIS_… with it, in the environment of Arroyo's workers"
                    .to_owned())
            }
        }
    }
}

fn dns(value: &str) -> Result<Dns, String> {
    match value {
        "system" => Ok(Dns::System),
        "off" => Ok(Dns::Off),
        address => address.parse().map(Dns::Server).map_err(|_| {
            format!("MILLRACE_SCREENING_DNS is '{address}': it is system, off, or an address as 127.0.0.1:53")
        }),
    }
}

fn patience(value: Option<&str>) -> Result<Duration, String> {
    let Some(value) = value else { return Ok(DEFAULT_PATIENCE) };
    let longest = LONGEST_CALL.as_secs();
    match value.parse() {
        Ok(seconds) if (1..=longest).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("MILLRACE_SCREENING_PATIENCE_S is '{value}': it is a number of seconds, 1 to {longest}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn where_bodies_are_must_be_said_and_nothing_else() {
        let settings = read(&[]).unwrap();
        assert!(settings.storage.unwrap_err().starts_with("MILLRACE_STORAGE is not set"));
        assert_eq!((settings.dns, settings.patience), (Dns::System, DEFAULT_PATIENCE));
        let settings = read(&[("MILLRACE_STORAGE", "embedded")]).unwrap();
        let storage = settings.storage.unwrap();
        assert!(matches!(storage, Storage::Embedded { data_dir } if data_dir.ends_with("millrace-data")));
        let settings = read(&[("MILLRACE_SCREENING_PATIENCE_S", "7")]).unwrap();
        assert_eq!((settings.storage.is_err(), settings.patience), (true, Duration::from_secs(7)));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let storage = |value| read(&[("MILLRACE_STORAGE", value)]).unwrap().storage.unwrap_err();
        assert!(storage("cluster").contains("MILLRACE_S3_BUCKET"));
        assert!(storage("s3").starts_with("MILLRACE_STORAGE is 's3'"));
        for (name, value) in [("MILLRACE_SCREENING_DNS", "here"), ("MILLRACE_SCREENING_PATIENCE_S", "241")] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name} is '{value}'")), "{error}");
        }
    }
}
