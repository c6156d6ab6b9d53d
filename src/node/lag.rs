//! How far consumer groups are behind the log, as metrics.
//!
//! A process tells of the groups whose members run in it. One that serves the API tells of all groups: a backlog must be
//! seen to grow also when all who should work on it are gone. So several may tell the same, and the largest holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use metrics::{counter, gauge};
use millrace_schemas::Topic;
use millrace_storage::{Log, LogError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::groups::{Group, of_lander, of_pipelines};
use super::{Node, Role};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// A group and the topic that it consumes.
struct Told {
    name: String,
    topic: Topic,
    /// The committed position is that of the last record that was read, as Arroyo notes it, in place of the next.
    is_last_read: bool,
    /// By partition, what the log said last.
    heard: Vec<Option<Lag>>,
}

/// How far a group is behind in one partition.
#[derive(Clone, Copy)]
struct Lag {
    records: u64,
    /// Age of the oldest record that is not processed; 0 when there is none.
    age_s: f64,
    asked_at: Instant,
}

impl Lag {
    /// The most that the age can be by now: all that came before the oldest record was processed.
    fn most_s(&self) -> f64 {
        self.age_s + self.asked_at.elapsed().as_secs_f64()
    }
}

/// The groups that this process tells of.
fn groups(node: &Node) -> Vec<Told> {
    let tells = |role: Role| node.runs(Role::Api) || node.runs(role);
    // Where Arroyo is configured and the role runs all the same, others than the role's processes tell one record less.
    let is_read_by_arroyo = node.config.arroyo.url.is_some() && !node.runs(Role::Pipelines);
    let told = |(name, topic): Group, is_last_read: bool| {
        let partitions = node.storage.log.partitions(topic) as usize;
        Told { name, topic, is_last_read, heard: vec![None; partitions] }
    };
    let mut groups = Vec::new();
    if tells(Role::Pipelines) {
        groups.extend(of_pipelines(&node.pipelines).into_iter().map(|group| told(group, is_read_by_arroyo)));
    }
    if tells(Role::Lander) {
        groups.extend(of_lander().into_iter().map(|group| told(group, false)));
    }
    groups
}

/// Tells until `shutdown`.
pub async fn tell(node: Arc<Node>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (mut groups, mut is_out) = (groups(&node), false);
    while !groups.is_empty() {
        let round = async {
            tokio::time::sleep(INTERVAL).await;
            is_out = tell_all(&*node.storage.log, &mut groups, is_out).await;
        };
        if shutdown.run_until_cancelled(round).await.is_none() {
            break;
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

/// Tells of all groups once. An outage is told when it begins and when it is over; gives whether there is one.
async fn tell_all(log: &dyn Log, groups: &mut [Told], was_out: bool) -> bool {
    // Together, since each may wait for a log that does not answer.
    let told = join_all(groups.iter_mut().map(|group| group.tell(log))).await;
    let failed = groups.iter().zip(told).find_map(|(group, told)| Some((&group.name, told.err()?)));
    match &failed {
        Some((group, error)) if !was_out => warn!(group, %error, "it cannot be told how far groups are behind"),
        None if was_out => info!("it can be told again how far groups are behind"),
        _ => {}
    }
    failed.is_some()
}

impl Told {
    /// Sets the gauges of all partitions. When the log does not answer for one, the rest are not asked: they would wait as
    /// long.
    async fn tell(&mut self, log: &dyn Log) -> Result<(), LogError> {
        let mut told = Ok(());
        for partition in 0..self.heard.len() {
            if told.is_ok() {
                told = match self.ask(log, partition as u32).await {
                    Ok(lag) => {
                        self.heard[partition] = Some(lag);
                        self.show(partition, lag.records as f64, lag.age_s);
                        continue;
                    }
                    Err(error) => Err(error),
                };
            }
            // Nobody is to take what was heard before for good news.
            self.show(partition, f64::NAN, self.heard[partition].map_or(f64::NAN, |lag| lag.most_s()));
        }
        if let Err(error) = &told {
            let labels = [("group", self.name.clone()), ("kind", error.kind().to_owned())];
            counter!("millrace_log_lag_failures_total", &labels).increment(1);
        }
        told
    }

    async fn ask(&self, log: &dyn Log, partition: u32) -> Result<Lag, LogError> {
        // Before the end, so that what is processed meanwhile does not count as more than there is.
        let committed = log.committed(&self.name, self.topic, partition).await?;
        let (first, end) = log.bounds(self.topic, partition).await?;
        let next = committed.map_or(first, |position| position + u64::from(self.is_last_read)).max(first);
        let oldest = if next < end { log.read(self.topic, partition, next, 1, 1).await? } else { Vec::new() };
        let (records, age_s) = oldest
            .first()
            .map_or((0, 0.0), |oldest| (end.saturating_sub(oldest.position.offset), age_s(oldest.appended_at_us)));
        Ok(Lag { records, age_s, asked_at: Instant::now() })
    }

    fn show(&self, partition: usize, records: f64, seconds: f64) {
        let topic = self.topic.name().to_owned();
        let labels = [("group", self.name.clone()), ("topic", topic), ("partition", partition.to_string())];
        gauge!("millrace_log_lag_records", &labels).set(records);
        gauge!("millrace_log_lag_seconds", &labels).set(seconds);
    }
}

fn age_s(appended_at_us: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_micros() as f64 - appended_at_us as f64).max(0.0) / 1e6
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::unimplemented)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use millrace_storage::{Consumer, NewRecord, Position, Record};

    use super::*;

    /// Has ten records, of which the first five are processed.
    #[derive(Default)]
    struct HalfDone {
        is_away: AtomicBool,
    }

    #[async_trait]
    impl Log for HalfDone {
        fn partitions(&self, _: Topic) -> u32 {
            1
        }
        async fn append(&self, _: Vec<NewRecord>) -> Result<Vec<Position>, LogError> {
            unimplemented!()
        }
        async fn read(
            &self,
            topic: Topic,
            partition: u32,
            offset: u64,
            _: usize,
            _: usize,
        ) -> Result<Vec<Record>, LogError> {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let appended_at_us = (now - Duration::from_secs(100)).as_micros() as i64;
            let position = Position { topic, partition, offset };
            Ok(vec![Record { position, key: String::new(), value: Default::default(), appended_at_us }])
        }
        async fn bounds(&self, _: Topic, _: u32) -> Result<(u64, u64), LogError> {
            Ok((0, 10))
        }
        async fn wait(&self, _: Topic, _: u32, _: u64, _: Duration) -> Result<bool, LogError> {
            unimplemented!()
        }
        async fn subscribe(&self, _: &str, _: Topic) -> Result<Box<dyn Consumer>, LogError> {
            unimplemented!()
        }
        async fn committed(&self, _: &str, _: Topic, _: u32) -> Result<Option<u64>, LogError> {
            match self.is_away.load(Ordering::Relaxed) {
                true => Err(LogError::Unavailable("it is away".to_owned())),
                false => Ok(Some(5)),
            }
        }
        async fn enforce_retention(&self) -> Result<u64, LogError> {
            unimplemented!()
        }
    }

    fn group(is_last_read: bool) -> Told {
        Told { name: "g".to_owned(), topic: Topic::Reception, is_last_read, heard: vec![None] }
    }

    /// The value of a metric in what Prometheus is given.
    fn value(rendered: &str, name: &str) -> f64 {
        let line = rendered.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[tokio::test]
    async fn a_log_that_is_away_makes_no_old_value_look_like_a_new_one() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _local = metrics::set_default_local_recorder(&recorder);
        let (log, mut groups) = (HalfDone::default(), [group(false)]);
        assert!(!tell_all(&log, &mut groups, false).await);
        let rendered = recorder.handle().render();
        assert_eq!(value(&rendered, "millrace_log_lag_records"), 5.0);
        let seconds = value(&rendered, "millrace_log_lag_seconds");
        assert!((100.0..110.0).contains(&seconds), "{seconds}");

        log.is_away.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(tell_all(&log, &mut groups, false).await);
        let rendered = recorder.handle().render();
        assert!(value(&rendered, "millrace_log_lag_records").is_nan());
        assert!(value(&rendered, "millrace_log_lag_seconds") >= seconds + 0.02, "it grows");
        assert_eq!(value(&rendered, "millrace_log_lag_failures_total"), 1.0);
        assert!(rendered.contains(r#"kind="unavailable""#), "{rendered}");

        log.is_away.store(false, Ordering::Relaxed);
        assert!(!tell_all(&log, &mut groups, true).await);
        assert_eq!(value(&recorder.handle().render(), "millrace_log_lag_records"), 5.0);
    }

    #[tokio::test]
    async fn nothing_is_said_of_what_was_never_heard() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _local = metrics::set_default_local_recorder(&recorder);
        let log = HalfDone { is_away: AtomicBool::new(true) };
        assert!(tell_all(&log, &mut [group(false)], false).await);
        assert!(value(&recorder.handle().render(), "millrace_log_lag_seconds").is_nan());
    }

    #[tokio::test]
    async fn arroyo_is_behind_by_what_follows_the_record_that_it_read_last() {
        let lag = group(true).ask(&HalfDone::default(), 0).await.unwrap();
        assert_eq!(lag.records, 4);
    }
}
