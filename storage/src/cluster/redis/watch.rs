//! Tells the watchers of this process what was applied by any.
//!
//! The script that applies rows publishes them, so a change is told after it can be read and never without it. One
//! channel has all partitions, since every watching process wants all; a cluster passes it on to all its nodes.
//!
//! Redis keeps no message for who is not there, and says nothing of one that was lost. So:
//!
//! - Each message says which offsets of its partition it is about; one that does not follow on the last means a gap.
//! - Every few seconds, what is applied is compared with what was told.
//! - Every few seconds, each process publishes a beat. Who hears not even his own is connected to something that is no
//!   longer Redis, and connects anew.
//! - After a connection was made anew, something may have been missed.
//!
//! In each case watchers are told [`Changed::missed`], and read the state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::SubscriberClient;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::config::Server;
use fred::types::{ConnectHandle, Message, Value};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};
use tokio_util::task::AbortOnDropHandle;

use self::gaps::Gaps;
use self::message::Heard;
use super::client::{QUIT_PATIENCE, timed};
use super::{Redis, RedisError, hot};
use crate::hot::Changed;

mod gaps;
mod message;

const BEAT: Duration = Duration::from_secs(3);
const LONGEST_SILENCE: Duration = Duration::from_secs(12);
/// How long a beat is waited for when listening begins.
const ECHO: Duration = Duration::from_millis(250);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long a start waits to hear itself.
const START_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn channel(prefix: &str) -> String {
    format!("{prefix}:hot:changes")
}

/// Listens until dropped.
pub(super) struct Watching {
    client: SubscriberClient,
    gaps: Arc<Gaps>,
    connection: Option<ConnectHandle>,
    _task: AbortOnDropHandle<()>,
}

impl Watching {
    /// Tells that this process is interested in a partition.
    pub(super) fn note(&self, partition: u32) {
        self.gaps.note(partition);
    }
}

/// The connection would stay open.
impl Drop for Watching {
    fn drop(&mut self) {
        let (client, connection) = (self.client.clone(), self.connection.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let _ = tokio::time::timeout(QUIT_PATIENCE, client.quit()).await;
            connection.iter().for_each(ConnectHandle::abort);
        });
    }
}

/// Returns once changes are heard.
pub(super) async fn begin(redis: Arc<Redis>, changes: Sender<Changed>) -> Result<Watching, RedisError> {
    let begun = async {
        let client = redis.subscriber()?;
        let connection = client.init().await?;
        let gaps = Arc::<Gaps>::default();
        let mut watcher = Watcher {
            messages: client.message_rx(),
            reconnects: client.reconnect_rx(),
            client: client.clone(),
            redis: redis.clone(),
            channel: channel(redis.prefix()),
            changes,
            gaps: gaps.clone(),
            heard: Instant::now(),
        };
        let listening = tokio::time::timeout(START_PATIENCE, watcher.listen()).await.is_ok();
        let task = AbortOnDropHandle::new(tokio::spawn(watcher.run()));
        Ok((Watching { client, gaps, connection: Some(connection), _task: task }, listening))
    };
    match begun.await {
        Ok((watching, true)) => Ok(watching),
        Ok((_, false)) => Err(redis.error("what is published there is not heard".to_owned())),
        Err(error) => Err(redis.error(Error::to_string(&error))),
    }
}

struct Watcher {
    client: SubscriberClient,
    redis: Arc<Redis>,
    channel: String,
    messages: Receiver<Message>,
    reconnects: Receiver<Server>,
    changes: Sender<Changed>,
    gaps: Arc<Gaps>,
    heard: Instant,
}

impl Watcher {
    async fn run(mut self) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.messages.recv() => match message {
                    Ok(message) => self.hear(&message),
                    Err(RecvError::Lagged(_)) => self.tell_missed("messages were not taken in time"),
                    Err(RecvError::Closed) => return,
                },
                reconnected = self.reconnects.recv() => match reconnected {
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        self.listen().await;
                        self.tell_missed("the connection was made anew");
                    }
                    Err(RecvError::Closed) => return,
                },
                _ = beats.tick() => {
                    self.beat().await;
                    self.compare().await;
                }
            }
        }
    }

    /// Subscribes, and returns once a message comes through: a subscription is not confirmed otherwise.
    async fn listen(&mut self) {
        loop {
            // Those of connections before this subscription; of a later one it must be heard.
            while matches!(self.reconnects.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
            let nonce = ulid::Ulid::new().to_string();
            let subscribed = self.client.subscribe(self.channel.as_str()).await;
            if subscribed.is_ok() && self.publish(&nonce).await.is_ok() && self.hears(&nonce).await {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn hears(&mut self, nonce: &str) -> bool {
        let heard = async {
            loop {
                match self.messages.recv().await {
                    Ok(message) if message.value.as_bytes().and_then(message::parse) == Some(Heard::Beat(nonce)) => {
                        self.heard = Instant::now();
                        return true;
                    }
                    Ok(message) => self.hear(&message),
                    Err(RecvError::Lagged(_)) => self.tell_missed("messages were not taken in time"),
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        tokio::time::timeout(ECHO, heard).await.unwrap_or(false)
    }

    fn hear(&mut self, message: &Message) {
        self.heard = Instant::now();
        match message.value.as_bytes().and_then(message::parse) {
            Some(Heard::Beat(_)) => {}
            Some(Heard::Step { partition, from, to, changes }) => {
                if !self.gaps.follows(partition, from, to) {
                    self.tell_missed("a message did not come");
                }
                // Nobody may be watching.
                for change in changes {
                    let _ = self.changes.send(change);
                }
            }
            None => self.tell_missed("a message cannot be read"),
        }
    }

    fn tell_missed(&self, reason: &str) {
        tracing::warn!(reason, "changes may have been missed, so watchers read again");
        metrics::counter!("millrace_hot_watch_gaps_total").increment(1);
        let _ = self.changes.send(Changed::missed());
    }

    async fn publish(&self, nonce: &str) -> Result<(), Error> {
        let beat = message::beat(nonce);
        let publish = async { self.redis.client().await?.publish::<Value, _, _>(self.channel.as_str(), beat).await };
        timed("publish", Box::pin(publish)).await.map(drop)
    }

    async fn beat(&mut self) {
        let silence = self.heard.elapsed();
        if silence > LONGEST_SILENCE {
            tracing::warn!(silence_s = silence.as_secs(), "Redis tells no changes, so the connection is made anew");
            // What comes of it is heard of as a reconnect.
            let _ = self.client.force_reconnection().await;
            self.heard = Instant::now();
        }
        let _ = self.publish("").await;
    }

    /// Whether all that was applied a beat ago has been told by now.
    async fn compare(&mut self) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        for partition in self.gaps.partitions() {
            let Ok(Some(applied_to)) = hot::applied_to(&self.redis, partition).await else { continue };
            if self.gaps.is_behind(partition, applied_to) {
                self.tell_missed("what is applied was not told");
            }
        }
    }
}
