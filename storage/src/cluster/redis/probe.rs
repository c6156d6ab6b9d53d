//! Whether Redis can be used, found out by trying.

use std::collections::HashMap;
use std::sync::Arc;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand, InfoKind, Value};

use super::{Redis, RedisError, RedisHot, RedisHotOptions, hot};
use crate::hot::HotStore;

/// Scripts as we write them, and `SET … PXAT`, came with it.
const OLDEST: (u32, u32) = (6, 2);

impl Redis {
    /// Tries a write, a read, the scripts of the hot store on a partition of nobody, and whether what is published is
    /// heard; and looks at what the server may throw away. Gives what was found, a line each.
    ///
    /// # Errors
    /// The first that does not work, and why.
    pub async fn probe(self: &Arc<Self>) -> Result<Vec<String>, RedisError> {
        let failed = |error: Error| self.error(error.to_string());
        let client = self.client().await.map_err(failed)?;
        let info: String = client.info(Some(InfoKind::Server)).await.map_err(failed)?;
        let version = field(&info, "redis_version").unwrap_or("0").to_owned();
        if parse(&version) < OLDEST {
            let (major, minor) = OLDEST;
            return Err(self.error(format!("it is version {version}; {major}.{minor} or newer is needed")));
        }
        let mut found = vec![format!("version {version}")];
        let key = format!("{}:probe", self.prefix());
        client.set::<(), _, _>(&key, "here", None, None, false).await.map_err(failed)?;
        let read: String = client.get(&key).await.map_err(failed)?;
        client.del::<(), _>(&key).await.map_err(failed)?;
        if read != "here" {
            return Err(self.error("what was written does not read back".to_owned()));
        }
        found.push("writes and reads".to_owned());
        Box::pin(self.probe_hot_store(client)).await?;
        found.push("scripts and channels".to_owned());
        let get = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
        let settings: Result<HashMap<String, String>, _> =
            client.custom::<HashMap<String, String>, Value>(get, vec!["GET".into(), "maxmemory-policy".into()]).await;
        let policy = settings.ok().and_then(|mut settings| settings.remove("maxmemory-policy"));
        found.push(judge(policy.as_deref()).map_err(|reason| self.error(reason))?);
        let persistence: String = client.info(Some(InfoKind::Persistence)).await.map_err(failed)?;
        if field(&persistence, "aof_enabled") != Some("1") {
            found.push(
                "appendonly is off: a restart forgets what was seen, so mail sent again counts as new".to_owned(),
            );
        }
        Ok(found)
    }

    /// Takes a partition and lets it go. Others that try at the same time have another.
    async fn probe_hot_store(self: &Arc<Self>, client: &Client) -> Result<(), RedisError> {
        let partition = ulid::Ulid::new().random() as u32 | 1 << 31;
        let hot = RedisHot::open(self.clone(), RedisHotOptions::default()).await?;
        let tried = async {
            hot.reset(partition, 0, 0).await?;
            hot.release(partition, 0).await
        };
        let tried = tried.await;
        let removed = client.del::<(), _>(hot::keys(self.prefix(), partition).to_vec()).await;
        removed.map_err(|error| self.error(error.to_string()))?;
        tried.map_err(|error| self.error(error.to_string()))
    }
}

/// What is found of a memory policy, or why it cannot be used.
fn judge(policy: Option<&str>) -> Result<String, String> {
    match policy {
        Some(policy) if policy.starts_with("allkeys") => Err(format!(
            "maxmemory-policy is {policy}: it would throw away mail that has not landed; set it to noeviction"
        )),
        Some(policy @ "noeviction") => Ok(format!("maxmemory-policy {policy}")),
        Some(policy) => {
            let cost = "a full Redis forgets what was seen and which sessions have ended, so mail comes twice";
            Ok(format!("maxmemory-policy is {policy}: {cost}; set it to noeviction"))
        }
        None => Ok("maxmemory-policy is not told; see that it is noeviction".to_owned()),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn parse(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_that_throws_nothing_away_is_recommended() {
        assert_eq!(judge(Some("noeviction")), Ok("maxmemory-policy noeviction".to_owned()));
        assert!(judge(Some("volatile-lru")).is_ok_and(|found| found.contains("set it to noeviction")));
        assert!(judge(Some("allkeys-lru")).is_err_and(|reason| reason.ends_with("set it to noeviction")));
        assert!(judge(None).is_ok());
    }

    #[test]
    fn fields_and_versions_are_read() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(field(info, "redis"), None);
        assert!(parse("7.0.15") > OLDEST && parse("6.0.16") < OLDEST && parse("10.1") > OLDEST);
    }
}
