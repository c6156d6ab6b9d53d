//! Is every message that was answered with 250 where it belongs, once?

use std::time::Duration;

use millrace_query::sql::{AuditReport, audit, check_bodies};
use millrace_query::tables::Positions;
use millrace_schemas::Topic;

use super::Node;
use super::role::Role;

/// How long mail that was screened a moment ago may take to be visible.
const PATIENCE: Duration = Duration::from_secs(10);

impl Node {
    /// Reconciles tables and log; with `bodies` also reads every body back.
    ///
    /// # Errors
    /// When log or tables cannot be read.
    pub async fn audit(&self, bodies: bool, progress: impl FnMut(u64, u64) + Send) -> anyhow::Result<AuditReport> {
        self.require(&[Role::Lander])?;
        self.begun().await?;
        let mut screened_to = Positions::new();
        for partition in 0..self.storage.log.partitions(Topic::Reception) {
            let to = self.storage.log.committed(&self.screening, Topic::Reception, partition).await?;
            screened_to.insert(partition, to.unwrap_or(0));
        }
        let mut report = audit(&self.sql, &screened_to, PATIENCE).await?;
        if bodies {
            let checked = check_bodies(&self.sql, &*self.storage.blobs, progress).await?;
            report.findings.extend(checked.damaged);
        }
        Ok(report)
    }
}
