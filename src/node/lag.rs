//! How far the groups of this process's roles are behind the log, as metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::gauge;
use millrace_storage::LogError;
use tokio_util::sync::CancellationToken;

use super::groups::{Group, of_lander, of_pipelines};
use super::{Node, Role};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// The groups whose members run here.
fn groups(node: &Node) -> Vec<Group> {
    let of = |role: Role, groups: fn() -> Vec<Group>| if node.runs(role) { groups() } else { Vec::new() };
    [of(Role::Pipelines, of_pipelines), of(Role::Lander, of_lander)].concat()
}

/// Tells until `shutdown`.
pub async fn tell(node: Arc<Node>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let groups = groups(&node);
    while !groups.is_empty() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        for group in &groups {
            if let Err(error) = tell_group(&node, group).await {
                tracing::debug!(group = group.0, %error, "the lag cannot be told now");
            }
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn tell_group(node: &Node, (group, topic): &Group) -> Result<(), LogError> {
    let log = &node.storage.log;
    for partition in 0..log.partitions(*topic) {
        let (first, end) = log.bounds(*topic, partition).await?;
        let next = log.committed(group, *topic, partition).await?.unwrap_or(first);
        let oldest = if next < end { log.read(*topic, partition, next, 1, 1).await? } else { Vec::new() };
        let age_s = oldest.first().map_or(0.0, |record| age_s(record.appended_at_us));
        let labels =
            [("group", group.clone()), ("topic", topic.name().to_owned()), ("partition", partition.to_string())];
        gauge!("millrace_log_lag_records", &labels).set(end.saturating_sub(next) as f64);
        // The age of the oldest record that was not processed.
        gauge!("millrace_log_lag_seconds", &labels).set(age_s);
    }
    Ok(())
}

fn age_s(appended_at_us: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_micros() as f64 - appended_at_us as f64).max(0.0) / 1e6
}
