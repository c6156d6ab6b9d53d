//! The versions of a pipeline at Arroyo.

use super::api::PipelineInfo;
use super::client::{ArroyoClient, ArroyoError};
use super::error::DeployError;
use super::job::is_over;
use super::plan::split_name;

/// What the last line of a version's text begins with: where its source begins, by partition. It is told to nobody but
/// the next deployment, and lasts as long as the version.
const BEGINS: &str = "-- begins at ";

/// A version of a pipeline at Arroyo.
pub(super) struct Version {
    pub(super) pipeline: PipelineInfo,
    /// Of its job.
    pub(super) state: String,
    pub(super) job: String,
    /// Whether it ever finished a checkpoint. Until then no record of it is seen, and its group may have moved all the
    /// same: Arroyo notes there what was read when a checkpoint *begins*, and hides those that failed.
    pub(super) has_finished: bool,
}

impl Version {
    /// Whether it reads, or is about to.
    pub(super) fn is_on(&self) -> bool {
        !is_over(&self.state)
    }

    /// Where its source was when it was made; None for one that an older Millrace has made.
    pub(super) fn begins(&self) -> Option<Vec<u64>> {
        begins(&self.pipeline.query)
    }
}

/// The text of a version that begins at `positions`.
pub(super) fn beginning_at(sql: &str, positions: &[u64]) -> String {
    let positions: Vec<String> = positions.iter().map(u64::to_string).collect();
    format!("{}\n{BEGINS}{}\n", sql.trim_end(), positions.join(","))
}

fn begins(query: &str) -> Option<Vec<u64>> {
    let positions = query.lines().rev().find_map(|line| line.strip_prefix(BEGINS))?;
    positions.split(',').map(|position| position.parse().ok()).collect()
}

/// Those of the pipeline `name`, newest first.
pub(super) async fn versions(client: &ArroyoClient, name: &str) -> Result<Vec<Version>, ArroyoError> {
    let mut pipelines = client.pipelines().await?;
    pipelines.retain(|pipeline| split_name(&pipeline.name).is_some_and(|(found, _)| found == name));
    pipelines.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.created_at));
    let mut versions = Vec::with_capacity(pipelines.len());
    for pipeline in pipelines {
        let job = client.job(&pipeline.id).await?;
        let has_finished = client.has_finished_checkpoint(&pipeline.id, &job.id).await?;
        versions.push(Version { pipeline, state: job.state, job: job.id, has_finished });
    }
    Ok(versions)
}

/// At most one version reads: two would double all mail.
pub(super) fn at_most_one_is_on(versions: &[Version]) -> Result<(), DeployError> {
    let mut on = versions.iter().filter(|version| version.is_on()).map(|version| version.pipeline.name.clone());
    match (on.next(), on.next()) {
        (Some(name), Some(other)) => Err(DeployError::TwoRun { name, other }),
        _ => Ok(()),
    }
}

/// The versions of the pipeline `name` that read at Arroyo, by their whole names.
///
/// # Errors
/// Arroyo cannot be reached.
pub async fn running(client: &ArroyoClient, name: &str) -> Result<Vec<String>, ArroyoError> {
    let mut running = Vec::new();
    for pipeline in client.pipelines().await? {
        let is_ours = split_name(&pipeline.name).is_some_and(|(found, _)| found == name);
        if is_ours && !is_over(&client.job(&pipeline.id).await?.state) {
            running.push(pipeline.name);
        }
    }
    Ok(running)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::BUILT_IN;
    use crate::plan::Pipeline;

    #[test]
    fn a_text_tells_where_its_version_begins_and_is_planned_as_before() {
        let (name, sql) = BUILT_IN[0];
        assert_eq!(begins(sql), None);
        let text = beginning_at(sql, &[17, 0, u64::MAX]);
        assert_eq!(begins(&text), Some(vec![17, 0, u64::MAX]));
        assert_eq!(Pipeline::load(name, &text).unwrap().statements(), Pipeline::load(name, sql).unwrap().statements());
        assert_eq!(begins("SELECT 1;\n-- begins at noon\n"), None);
    }
}
