//! Ended sessions on Redis, for all processes that serve the API.
//!
//! Accounts are spread over buckets, and a bucket has its epoch on the same node as what it keeps: a node that lost its
//! data ends the sessions of its buckets, and no others.
//!
//! What is kept has a time to live. Under a memory policy of `volatile-*` a full Redis may forget it early, and a session
//! that was ended holds again until its time is up; `noeviction` refuses to end more instead, and says so to whoever logs
//! out. A failover to a replica may lose what was ended in its last moments.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::{Key, Value};
use millrace_schemas::topic::partition_of;

use super::Redis;
use super::script::{Script, script};
use crate::revocations::{Epoch, MAX_OF_ACCOUNT, RevocationError, Revocations, TokenId};

static EPOCH: Script = script!("epoch");
static HOLDS: Script = script!("holds");
static REVOKE: Script = script!("revoke");

const BUCKETS: u32 = 256;

/// [`Revocations`] that all processes share.
pub struct RedisRevocations {
    redis: Arc<Redis>,
}

impl RedisRevocations {
    pub fn new(redis: Arc<Redis>) -> Self {
        Self { redis }
    }

    /// The epoch of the account's bucket, and what is kept of the account; the braces keep them on one node.
    fn keys(&self, account_id: &str) -> [Key; 2] {
        let bucket = format!("{{{}:sessions:{}}}", self.redis.prefix(), partition_of(account_id, BUCKETS));
        [Key::from(format!("{bucket}:epoch")), Key::from(format!("{bucket}:ended:{account_id}"))]
    }

    async fn run(&self, script: &Script, keys: &[Key], args: Vec<Value>) -> Result<Value, RevocationError> {
        self.redis.run(script, keys, args).await.map_err(|error| RevocationError(format!("redis: {error}")))
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes::Bytes::copy_from_slice(bytes))
}

#[async_trait]
impl Revocations for RedisRevocations {
    async fn epoch(&self, account_id: &str) -> Result<Epoch, RevocationError> {
        let [epoch, _] = self.keys(account_id);
        let fresh = ulid::Ulid::new().to_bytes();
        let found = self.run(&EPOCH, &[epoch], vec![bytes(&fresh)]).await?;
        let found = found.as_bytes().and_then(|found| found.try_into().ok());
        found.ok_or_else(|| RevocationError("redis: what it holds is no epoch".to_owned()))
    }

    async fn holds(&self, token: &TokenId) -> Result<bool, RevocationError> {
        let args = vec![bytes(&token.id), bytes(&token.epoch), token.opened_at_us.to_string().into()];
        let held = self.run(&HOLDS, &self.keys(&token.account_id), args).await?;
        Ok(held.as_i64() == Some(1))
    }

    async fn revoke(&self, token: &TokenId, now_us: i64, keep: Duration) -> Result<(), RevocationError> {
        let [_, ended] = self.keys(&token.account_id);
        let keep_s = keep.as_secs() + 1;
        let now_s = now_us / 1_000_000;
        let until_s = now_s.saturating_add_unsigned(keep_s);
        let args = [until_s, now_s, now_us, i64::try_from(keep_s).unwrap_or(i64::MAX), MAX_OF_ACCOUNT as i64];
        let args = std::iter::once(bytes(&token.id)).chain(args.into_iter().map(|number| number.to_string().into()));
        self.run(&REVOKE, &[ended], args.collect()).await.map(drop)
    }
}
