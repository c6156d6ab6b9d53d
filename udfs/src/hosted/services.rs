//! How a hosted stage function reaches S3 and Redis: `MILLRACE_S3_…` and `MILLRACE_REDIS_…`, as in every role.

use std::path::PathBuf;
use std::time::Duration;

use millrace_storage::Secret;
use millrace_storage::cluster::{RedisFirstSeenOptions, RedisOptions, S3Options};

/// Commands wait for few connections: each library of each worker has its own.
const REDIS_CONNECTIONS: usize = 2;
const DEFAULT_FIRST_SEEN_DAYS: u64 = 7;

/// The services that the stores of a cluster stand on.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) s3: S3Options,
    pub(super) redis: RedisOptions,
    pub(super) first_seen: RedisFirstSeenOptions,
}

impl Services {
    /// # Errors
    /// Which variable is missing or wrong.
    pub(super) fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let needed = |name: &str| variable(name).ok_or_else(|| format!("MILLRACE_STORAGE=cluster needs {name}"));
        let file = |name: &str| variable(name).map(PathBuf::from);
        let mut s3 = S3Options::new(needed("MILLRACE_S3_BUCKET")?);
        s3.endpoint = variable("MILLRACE_S3_ENDPOINT");
        s3.region = variable("MILLRACE_S3_REGION").unwrap_or(s3.region);
        s3.prefix = variable("MILLRACE_S3_PREFIX").unwrap_or_default();
        s3.access_key = variable("MILLRACE_S3_ACCESS_KEY");
        s3.secret_key = secret(variable, "MILLRACE_S3_SECRET_KEY")?;
        s3.ca_file = file("MILLRACE_S3_CA_FILE");
        let mut redis = RedisOptions::new(needed("MILLRACE_REDIS_URL")?);
        redis.username = variable("MILLRACE_REDIS_USERNAME");
        redis.password = secret(variable, "MILLRACE_REDIS_PASSWORD")?;
        redis.ca_file = file("MILLRACE_REDIS_CA_FILE");
        redis.connections = REDIS_CONNECTIONS;
        let window = first_seen_window(variable("MILLRACE_SCREENING_FIRST_SEEN_DAYS").as_deref())?;
        Ok(Self { s3, redis, first_seen: RedisFirstSeenOptions { window, ..RedisFirstSeenOptions::default() } })
    }
}

/// The variable `name` itself, or the file that `name_FILE` names.
fn secret(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<Secret>, String> {
    let file = format!("{name}_FILE");
    match (variable(name), variable(&file)) {
        (Some(_), Some(_)) => Err(format!("{name} and {file} go against each other: set one of them")),
        (Some(secret), None) => Ok(Some(Secret::new(secret))),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(&path);
            let text = read.map_err(|error| format!("{file} {path} cannot be read: {error}"))?;
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
        }
        (None, None) => Ok(None),
    }
}

fn first_seen_window(days: Option<&str>) -> Result<Duration, String> {
    let days = match days {
        None => DEFAULT_FIRST_SEEN_DAYS,
        Some(text) => match text.parse() {
            Ok(days) if (1..=3650).contains(&days) => days,
            _ => return Err(format!("MILLRACE_SCREENING_FIRST_SEEN_DAYS is '{text}': it is 1 to 3650")),
        },
    };
    Ok(Duration::from_secs(days * 24 * 3600))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Services, String> {
        let known = [("MILLRACE_S3_BUCKET", "millrace"), ("MILLRACE_REDIS_URL", "redis://127.0.0.1:6379")];
        Services::read(&|name: &str| {
            let found = variables.iter().chain(&known).find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn secrets_are_not_shown_and_are_said_once() {
        let services = read(&[("MILLRACE_S3_SECRET_KEY", "hush"), ("MILLRACE_REDIS_PASSWORD", "hush")]).unwrap();
        assert_eq!(services.s3.secret_key.as_ref().map(Secret::reveal), Some("hush"));
        assert!(!format!("{services:?}").contains("hush"));
        let twice = [("MILLRACE_REDIS_PASSWORD", "hush"), ("MILLRACE_REDIS_PASSWORD_FILE", "/nowhere")];
        assert!(read(&twice).unwrap_err().contains("MILLRACE_REDIS_PASSWORD_FILE"));
        assert!(read(&twice[1..]).unwrap_err().contains("/nowhere cannot be read"));
    }

    #[test]
    fn the_window_of_first_seen_is_that_of_the_other_roles() {
        assert_eq!(read(&[]).unwrap().first_seen.window, Duration::from_secs(7 * 24 * 3600));
        assert!(read(&[("MILLRACE_SCREENING_FIRST_SEEN_DAYS", "0")]).unwrap_err().contains("'0'"));
    }
}
