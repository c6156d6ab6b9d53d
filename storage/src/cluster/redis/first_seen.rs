//! First-seen on Redis: one key per claim, which Redis forgets by itself.
//!
//! A claim is as durable as Redis keeps what it has acknowledged. With `appendonly yes` and `appendfsync always` that is
//! what the trait asks for: synced before the claimant is answered, many claims in one sync. With `appendfsync everysec`
//! a crash of the machine, and with replicas also a failover, can lose the claims of the last second or two. What comes
//! of that: a second copy of a message (another reception, such as a sender that did not see our 250) may be taken for
//! the first and delivered beside the one whose claim was lost. It is never the other way round: no message is dropped
//! for a claim that was lost, and a record that is processed again claims under its own name again, finds the claim
//! either its own or gone, and gets the same answer; or it finds that another copy has claimed meanwhile, and then that
//! copy is the one delivered. Nothing behind first-seen looks for doubles, so whoever cannot have a doubled mail after a
//! crash of Redis sets `always`.
//!
//! `WAITAOF` is not used: it waits for the same sync, up to a second with `everysec`, and holds up the connection.
//!
//! Claims have a time to live, so under a memory policy of `volatile-*` a full Redis forgets claims early, and mail is
//! doubled; `noeviction`, which is right, refuses new ones instead ([`FirstSeenError`]), and records wait. Before that, rows
//! that the hot store keeps for readers give way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fred::interfaces::ClientLike;
use fred::types::{ClusterHash, CustomCommand, InfoKind, Key};

use super::Redis;
use super::script::{Script, script};
use crate::first_seen::{Claim, FirstSeen, FirstSeenError};

static CLAIM: Script = script!("claim");

/// Times are compared in the numbers of Lua, which are exact below.
const MAX_TIME_US: i64 = 1 << 53;

#[derive(Clone, Debug)]
pub struct RedisFirstSeenOptions {
    /// How long a claim holds. Default: 5 days.
    pub window: Duration,
    /// How much longer Redis keeps it: how far behind the time of its records the pipeline may be. Default: 1 day.
    pub slack: Duration,
}

impl Default for RedisFirstSeenOptions {
    /// Clients that missed an answer try again for days.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { window: DAY * 5, slack: DAY }
    }
}

/// A [`FirstSeen`] that all processes share; see the module for what it survives.
pub struct RedisFirstSeen {
    redis: Arc<Redis>,
    window_us: i64,
    kept_ms: u64,
    /// Claims before this time are taken for forgotten, whether Redis still has them or not.
    forgotten_us: AtomicI64,
}

impl RedisFirstSeen {
    pub fn new(redis: Arc<Redis>, options: &RedisFirstSeenOptions) -> Self {
        let window_us = i64::try_from(options.window.as_micros()).unwrap_or(MAX_TIME_US).min(MAX_TIME_US);
        // Redis adds its clock to it.
        const LONGEST_MS: u64 = 1 << 52;
        let kept = options.window.saturating_add(options.slack).as_millis();
        let kept_ms = u64::try_from(kept).unwrap_or(LONGEST_MS).clamp(1, LONGEST_MS);
        Self { redis, window_us, kept_ms, forgotten_us: AtomicI64::new(-MAX_TIME_US) }
    }

    /// Logs what a crash of Redis can cost, as far as it tells.
    pub async fn report_durability(&self) {
        let Ok(client) = self.redis.client().await else { return };
        let persistence: Result<String, _> = client.info(Some(InfoKind::Persistence)).await;
        if persistence.is_ok_and(|info| info.contains("aof_enabled:0")) {
            tracing::warn!(
                "Redis keeps no log of its own: when it restarts, mail may be delivered twice; set appendonly yes"
            );
            return;
        }
        let get = CustomCommand::new_static("CONFIG", ClusterHash::Random, false);
        let fsync: Result<std::collections::HashMap<String, String>, _> =
            client.custom(get, vec!["GET", "appendfsync"]).await;
        if let Ok(Some(fsync)) = fsync.map(|mut settings| settings.remove("appendfsync"))
            && fsync != "always"
        {
            tracing::info!(fsync, "a crash of Redis can lose claims of its last second, and mail be delivered twice");
        }
    }
}

#[async_trait]
impl FirstSeen for RedisFirstSeen {
    async fn claim(&self, key: [u8; 32], claimant: &str, at_us: i64) -> Result<Claim, FirstSeenError> {
        let key = [self.redis.prefix().as_bytes(), b":seen:", key.as_slice()].concat();
        let at_us = at_us.clamp(-MAX_TIME_US, MAX_TIME_US);
        let args = vec![
            claimant.into(),
            at_us.to_string().into(),
            self.window_us.to_string().into(),
            self.kept_ms.to_string().into(),
            self.forgotten_us.load(Ordering::Relaxed).to_string().into(),
        ];
        let answer = self.redis.run(&CLAIM, &[Key::from(key.as_slice())], args).await;
        let holder = answer.map_err(|error| FirstSeenError(format!("redis: {error}")))?;
        if holder.is_null() {
            return Ok(Claim::First);
        }
        match holder.into_string() {
            Some(holder) => Ok(Claim::Taken(holder)),
            None => Err(FirstSeenError("redis: what it holds is no claim".to_owned())),
        }
    }

    /// Redis frees by itself what has lapsed, by its own clock; so there is nothing to count.
    async fn expire(&self, now_us: i64) -> Result<u64, FirstSeenError> {
        let before_us = now_us.saturating_sub(self.window_us).clamp(-MAX_TIME_US, MAX_TIME_US);
        self.forgotten_us.fetch_max(before_us, Ordering::Relaxed);
        Ok(0)
    }
}
