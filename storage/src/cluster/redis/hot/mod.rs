//! The hot store on Redis: what all processes see of the changes that the tables do not have yet.
//!
//! Per partition there are four keys (`scripts/held.lua`), written and read by scripts, so that every reader sees rows
//! and offsets that belong together.
//!
//! **Nothing that has not landed is evicted**: no key has a time to live, and taking a partition is refused by a Redis whose
//! `maxmemory-policy` is `allkeys-*`; `noeviction` is right, since `volatile-*` throws away what
//! [`first_seen`](super::first_seen) has claimed. Rows that have landed are kept for readers, and give way when Redis has
//! used nine tenths of its memory, or refuses to apply. One that is full without them stops the lander and nothing else,
//! until more has landed. Each script first checks that the keys are all there and as long as they should be; a partition
//! that lost any is one that nobody has begun.
//!
//! **Only the owner writes.** `reset` and `take_over` make this handle the owner, under a name that was never used before.
//! `apply` and `release` of any other are [`HotError::Fenced`]: of a handle that never took the partition, or from which another
//! took it, whenever what it sent arrives. The owner is fenced, too, when Redis has lost the partition or has gone back
//! to before what the owner was told is applied (a restart from an old file, a failover to a replica that was behind).
//! In all of these the lander takes the partition again: it goes on behind what is whole in Redis, else every record after
//! what the tables have is applied again. Until that has reached what readers may have seen, tails say that they are not
//! complete.
//!
//! A lander that has nothing to apply learns nothing of a loss; let it `release` where the tables end every few
//! seconds.

mod read;
mod scripts;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use fred::error::Error;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use self::scripts::{APPLIED_TO, APPLY, MAX_OFFSET, NEWEST, RELEASE, TAKE};
pub(super) use self::scripts::{account_key, keys, split_account};
use self::steps::steps;
use super::script::Script;
use super::watch::{self, Watching};
use super::{Redis, RedisError};
use crate::hot::{Changed, HotError, HotRow, HotStore, HotTail};

/// What a row costs beside its bytes: its places in four keys, as measured.
const ROW_OVERHEAD_BYTES: usize = 600;
/// Rows dropped in one step.
const RELEASE_ROWS: usize = 250;

#[derive(Clone, Debug)]
pub struct RedisHotOptions {
    /// Rows that the tables have as well are kept for recent readers up to this many bytes per partition. Default:
    /// 16 MiB.
    pub released_bytes: usize,
    /// Changes that a watcher may lag behind. Default: 8192.
    pub watch_capacity: usize,
}

impl Default for RedisHotOptions {
    fn default() -> Self {
        Self { released_bytes: 16 * 1024 * 1024, watch_capacity: 8192 }
    }
}

/// A [`HotStore`] that all processes share; see the module.
pub struct RedisHot {
    redis: Arc<Redis>,
    options: RedisHotOptions,
    /// The partitions that this handle has taken and not yet lost, as far as it knows.
    owned: Mutex<HashMap<u32, Owned>>,
    changes: broadcast::Sender<Changed>,
    watching: Watching,
}

#[derive(Clone)]
struct Owned {
    owner: String,
    /// What Redis said is applied.
    applied_to: u64,
}

impl RedisHot {
    /// Begins to listen for changes, too.
    ///
    /// # Errors
    /// When Redis does not answer now.
    pub async fn open(redis: Arc<Redis>, options: RedisHotOptions) -> Result<Self, RedisError> {
        let (changes, _) = broadcast::channel(options.watch_capacity.max(1));
        let watching = watch::begin(redis.clone(), changes.clone()).await?;
        Ok(Self { redis, options, owned: Mutex::default(), changes, watching })
    }

    async fn run(&self, script: &Script, partition: u32, args: Vec<Value>) -> Result<Value, HotError> {
        self.redis.run(script, &keys(self.redis.prefix(), partition), args).await.map_err(unavailable)
    }

    fn owned(&self, partition: u32) -> Result<Owned, HotError> {
        self.owned.lock().get(&partition).cloned().ok_or(HotError::Fenced(partition))
    }

    /// One step of what only the owner may do; the script says -1 when that is no longer this handle.
    async fn run_as(&self, owned: &Owned, script: &Script, partition: u32, rest: Vec<Value>) -> Result<i64, HotError> {
        let mut args = vec![owned.owner.as_str().into(), owned.applied_to.to_string().into()];
        args.extend(rest);
        let answer = self.run(script, partition, args).await?;
        match answer.as_i64() {
            Some(-1) => {
                self.forget(partition, &owned.owner);
                Err(HotError::Fenced(partition))
            }
            Some(answer) => Ok(answer),
            None => Err(nonsense(partition)),
        }
    }

    fn forget(&self, partition: u32, owner: &str) {
        let mut owned = self.owned.lock();
        if owned.get(&partition).is_some_and(|owned| owned.owner == owner) {
            owned.remove(&partition);
        }
    }

    /// Makes this handle the owner; gives what is applied, or `None` when it cannot go on with what is held.
    async fn take(&self, partition: u32, from: u64, end: u64, goes_on: bool) -> Result<Option<u64>, HotError> {
        let before = self.owned.lock().remove(&partition).map(|owned| owned.owner).unwrap_or_default();
        let owner = ulid::Ulid::new().to_string();
        let (from, end) = (offset(partition, from)?, offset(partition, end)?);
        let args = vec![owner.as_str().into(), from, end, u8::from(goes_on).to_string().into(), before.into()];
        let answer = self.run(&TAKE, partition, args).await?;
        match answer.as_str() {
            None if answer.is_null() => Ok(None),
            Some(policy) if policy.starts_with("allkeys") => Err(HotError::Unavailable(format!(
                "redis: its maxmemory-policy is {policy}, so that it may drop what is nowhere else yet; set it to noeviction"
            ))),
            _ => {
                let applied_to = answer.as_u64().ok_or_else(|| nonsense(partition))?;
                self.owned.lock().insert(partition, Owned { owner, applied_to });
                Ok(Some(applied_to))
            }
        }
    }

    /// One step of an apply. In a full Redis, what is kept for readers alone makes room for it.
    async fn apply_step(
        &self,
        partition: u32,
        owned: &mut Owned,
        rows: &[HotRow],
        next_offset: u64,
    ) -> Result<(), HotError> {
        match self.try_step(partition, owned, rows, next_offset).await {
            Err(error) if is_full(&error) => {
                self.make_room().await;
                self.try_step(partition, owned, rows, next_offset).await
            }
            outcome => outcome,
        }
    }

    async fn try_step(
        &self,
        partition: u32,
        owned: &mut Owned,
        rows: &[HotRow],
        next_offset: u64,
    ) -> Result<(), HotError> {
        let mut args = Vec::with_capacity(4 + rows.len() * 4);
        args.push(offset(partition, next_offset)?);
        args.push(watch::channel(self.redis.prefix()).into());
        args.push(partition.to_string().into());
        args.push(ROW_OVERHEAD_BYTES.to_string().into());
        for row in rows {
            args.push(offset(partition, row.seq)?);
            args.push(account_key(&row.account_id).into());
            args.push((&*row.email_id).into());
            args.push(Value::Bytes(row.value.clone()));
        }
        let applied_to = self.run_as(owned, &APPLY, partition, args).await?;
        owned.applied_to = u64::try_from(applied_to).map_err(|_| nonsense(partition))?;
        if let Some(held) = self.owned.lock().get_mut(&partition).filter(|held| held.owner == owned.owner) {
            held.applied_to = held.applied_to.max(owned.applied_to);
        }
        Ok(())
    }

    /// Drops every row of our partitions that the tables have as well.
    async fn make_room(&self) {
        let partitions: Vec<(u32, Owned)> = self.owned.lock().iter().map(|(&at, owned)| (at, owned.clone())).collect();
        tracing::warn!(partitions = partitions.len(), "Redis is full: rows that have landed are dropped from it");
        for (partition, owned) in partitions {
            // Nothing more has landed, as far as is known here.
            if let Err(error) = self.drop_released(partition, &owned, 0, 0).await {
                tracing::warn!(partition, %error, "rows that have landed could not be dropped");
            }
        }
    }

    /// Drops rows before `offset` until what the tables have as well takes no more than `budget` bytes.
    async fn drop_released(&self, partition: u32, owned: &Owned, offset: u64, budget: u64) -> Result<(), HotError> {
        let (offset, budget) = (offset.min(MAX_OFFSET), budget.min(MAX_OFFSET));
        loop {
            let rest = [offset, budget, RELEASE_ROWS as u64].map(|number| number.to_string().into());
            if self.run_as(owned, &RELEASE, partition, rest.into()).await? == 0 {
                return Ok(());
            }
        }
    }
}

pub(super) async fn applied_to(redis: &Redis, partition: u32) -> Result<Option<u64>, HotError> {
    let applied_to = redis.run(&APPLIED_TO, &keys(redis.prefix(), partition), Vec::new()).await.map_err(unavailable)?;
    match applied_to.is_null() {
        true => Ok(None),
        false => applied_to.as_u64().map(Some).ok_or_else(|| nonsense(partition)),
    }
}

fn offset(partition: u32, offset: u64) -> Result<Value, HotError> {
    if offset > MAX_OFFSET {
        return Err(HotError::Unavailable(format!(
            "offset {offset} of partition {partition} is too large to count with"
        )));
    }
    Ok(offset.to_string().into())
}

fn unavailable(error: Error) -> HotError {
    HotError::Unavailable(format!("redis: {error}"))
}

/// Whether Redis takes nothing for want of memory; then a script has done nothing.
fn is_full(error: &HotError) -> bool {
    matches!(error, HotError::Unavailable(reason) if reason.contains("OOM command not allowed"))
}

fn nonsense(partition: u32) -> HotError {
    HotError::Unavailable(format!("redis: the keys of partition {partition} hold something else"))
}

fn not_held(partition: u32) -> HotError {
    HotError::Unavailable(format!("partition {partition} is still being filled"))
}

#[async_trait]
impl HotStore for RedisHot {
    async fn reset(&self, partition: u32, from: u64, end: u64) -> Result<(), HotError> {
        self.take(partition, from, end, false).await.map(|_| ())
    }

    async fn take_over(&self, partition: u32, from: u64, end: u64) -> Result<Option<u64>, HotError> {
        self.take(partition, from, end, true).await
    }

    /// Large calls take several steps, each of which is seen whole; one that fails may leave those before it.
    async fn apply(&self, partition: u32, mut rows: Vec<HotRow>, next_offset: u64) -> Result<(), HotError> {
        let mut owned = self.owned(partition)?;
        rows.sort_by_key(|row| row.seq);
        let mut steps = steps(&rows).peekable();
        if steps.peek().is_none() {
            return self.apply_step(partition, &mut owned, &[], next_offset).await;
        }
        while let Some(step) = steps.next() {
            // What a step ends before is applied with it; the last one also says how far the records went.
            let end = match steps.peek() {
                Some(following) => following.first().map_or(0, |row| row.seq),
                None => next_offset,
            };
            self.apply_step(partition, &mut owned, step, end).await?;
        }
        Ok(())
    }

    async fn applied_to(&self, partition: u32) -> Result<Option<u64>, HotError> {
        applied_to(&self.redis, partition).await
    }

    async fn release(&self, partition: u32, offset: u64) -> Result<(), HotError> {
        let owned = self.owned(partition)?;
        self.drop_released(partition, &owned, offset, self.options.released_bytes as u64).await
    }

    async fn tail(&self, partition: u32, account_id: &str, from: u64) -> Result<HotTail, HotError> {
        self.watching.note(partition);
        self.read(partition, Some(account_id), from).await
    }

    async fn newest(&self, partition: u32, account_id: &str, email_id: &str) -> Result<Option<HotRow>, HotError> {
        let name = account_key(account_id) + email_id;
        let answer = self.run(&NEWEST, partition, vec![name.into()]).await?;
        if answer.is_null() {
            return Err(not_held(partition));
        }
        let mut answer = answer.into_array().into_iter();
        let (Some(id), Some(value)) = (answer.next(), answer.next()) else { return Ok(None) };
        let (seq, _) = read::row_id(&id).ok_or_else(|| nonsense(partition))?;
        let value = value.into_bytes().ok_or_else(|| nonsense(partition))?;
        Ok(Some(HotRow { account_id: account_id.into(), email_id: email_id.into(), seq, value }))
    }

    async fn rows(&self, partition: u32, from: u64) -> Result<HotTail, HotError> {
        self.read(partition, None, from).await
    }

    fn watch(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }
}
