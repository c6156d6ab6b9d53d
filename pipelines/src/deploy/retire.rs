//! Ending the versions that are there, so that the next one can begin where they end.

use tracing::{info, warn};

use super::api::{PipelineInfo, Stop};
use super::deployer::Deployer;
use super::error::DeployError;
use super::handover::Hold;
use super::job::{Waited, is_over, until_over};
use super::plan::Planned;
use super::quiet::{is_quiet, newest_us};
use super::versions::Version;

impl Deployer<'_> {
    /// Ends and deletes versions of which no record was ever seen: those that never came to run. The one that is planned
    /// may still come to it.
    pub(super) async fn discard_untouched(
        &self,
        planned: &Planned,
        versions: &mut Vec<Version>,
    ) -> Result<(), DeployError> {
        let mut kept = Vec::with_capacity(versions.len());
        for version in versions.drain(..) {
            let is_planned = version.pipeline.name == planned.full_name() && version.is_on();
            if version.has_finished || is_planned {
                kept.push(version);
                continue;
            }
            self.stop_now(&version.pipeline.name, &version.pipeline.id).await?;
            self.set_back(planned, &version).await?;
            self.client.delete_pipeline(&version.pipeline.id).await?;
        }
        *versions = kept;
        Ok(())
    }

    /// Ends a version at once: what it has in hand is read again by whoever begins where it began.
    pub(super) async fn stop_now(&self, name: &str, id: &str) -> Result<(), DeployError> {
        if is_over(&self.client.job(id).await?.state) {
            return Ok(());
        }
        self.client.stop_pipeline(id, Stop::Immediate).await?;
        match until_over(self.client, id, self.options).await? {
            Waited::NotYet(state) => Err(DeployError::NotStopped { name: name.to_owned(), state }),
            Waited::Done | Waited::Never(_) => Ok(()),
        }
    }

    /// Sets the group of a version that has ended without a record being seen back to where it began, if it has moved.
    /// Whether one was seen shows now that it has ended: a checkpoint may have finished since it was last looked at.
    pub(super) async fn set_back(&self, planned: &Planned, version: &Version) -> Result<(), DeployError> {
        let PipelineInfo { name, id, .. } = &version.pipeline;
        let (group, topic) = (&planned.name, planned.source);
        if self.handover.is_exact(group, topic).await? {
            return Ok(());
        }
        let job = self.client.job(id).await?;
        if self.client.has_finished_checkpoint(id, &job.id).await? {
            warn!(version = name, "it has finished a checkpoint: what was seen of it stays, and so does its source");
            return Ok(());
        }
        let positions = match (version.begins(), self.options.rewind) {
            (Some(positions), _) => positions,
            (None, Some(by)) => self.handover.earlier(group, topic, by).await?,
            (None, None) => {
                let reason = "it has read and finished no checkpoint, and does not say where it began".to_owned();
                return Err(DeployError::Lost { name: name.clone(), reason });
            }
        };
        warn!(version = name, "it has read and nothing of it was seen: its source is set back to where it began");
        Ok(self.handover.set(group, topic, &positions).await?)
    }

    /// Ends all other versions, and sees that the group stands where the next one is to begin.
    pub(super) async fn retire(&self, planned: &Planned, versions: &[Version]) -> Result<(), DeployError> {
        if let Some(running) = versions.iter().find(|version| version.is_on()) {
            return self.take_over_or_rewind(planned, running).await;
        }
        let Some(last) = versions.first() else { return Ok(()) };
        if self.handover.is_exact(&planned.name, planned.source).await? {
            return Ok(());
        }
        // It ended otherwise than by a handover that was finished: it goes on from its own checkpoint, and hands over.
        match self.start_again(planned, last).await {
            Ok(()) => self.take_over_or_rewind(planned, last).await,
            Err(DeployError::NotRunning { reason, .. }) => self.rewind(planned, last, reason).await,
            Err(other) => Err(other),
        }
    }

    /// The handover from a version that runs; where it comes to none and that was asked for, its end all the same.
    async fn take_over_or_rewind(&self, planned: &Planned, old: &Version) -> Result<(), DeployError> {
        match self.take_over(planned, old).await {
            Err(error) if self.options.rewind.is_some() && error.may_be_rewound() => {
                self.rewind(planned, old, error.to_string()).await
            }
            taken => taken,
        }
    }

    async fn take_over(&self, planned: &Planned, old: &Version) -> Result<(), DeployError> {
        let name = &old.pipeline.name;
        info!(old = name, "handing over");
        let lifetime = self.options.hold_lifetime();
        let hold = self.handover.hold(&planned.name, planned.source, lifetime).await?;
        let taken = self.drain_and_stop(planned, old, hold.as_ref()).await;
        let released = hold.release().await;
        taken?;
        // The hold would undo itself, but until then the new version could not read on.
        Ok(released?)
    }

    async fn drain_and_stop(&self, planned: &Planned, old: &Version, hold: &dyn Hold) -> Result<(), DeployError> {
        let name = old.pipeline.name.clone();
        let deadline = tokio::time::Instant::now() + self.options.drain_timeout;
        let mut reached_us = None;
        while !self.is_drained(planned, old, hold, &mut reached_us).await? {
            if tokio::time::Instant::now() >= deadline {
                let reason = format!("has not finished in {} s", self.options.drain_timeout.as_secs());
                return Err(DeployError::NotHandedOver { name, reason });
            }
            tokio::time::sleep(self.options.poll_interval).await;
        }
        self.client.stop_pipeline(&old.pipeline.id, Stop::Checkpoint).await?;
        match until_over(self.client, &old.pipeline.id, self.options).await? {
            Waited::Done => {}
            Waited::Never(reason) => return Err(DeployError::Lost { name, reason }),
            Waited::NotYet(state) => return Err(DeployError::NotStopped { name, state }),
        }
        if !self.handover.is_held_at(planned.source, hold.positions()).await? {
            let state = "Stopped, later than the source could be held".to_owned();
            return Err(DeployError::NotStopped { name, state });
        }
        self.handover.set(&planned.name, planned.source, hold.positions()).await?;
        Ok(())
    }

    /// Whether an old version has read everything before the hold, and nothing has moved in it for a while since then.
    /// `reached_us` is when, by Arroyo's clock.
    async fn is_drained(
        &self,
        planned: &Planned,
        old: &Version,
        hold: &dyn Hold,
        reached_us: &mut Option<u64>,
    ) -> Result<bool, DeployError> {
        if !self.handover.is_reached(&planned.name, planned.source, hold.positions()).await? {
            return Ok(false);
        }
        let metrics = self.client.metrics(&old.pipeline.id, &old.job).await?;
        let Some(newest_us) = newest_us(&metrics) else { return Ok(false) };
        let reached_us = *reached_us.get_or_insert(newest_us);
        let quiet_us = u64::try_from(self.options.quiet_time.as_micros()).unwrap_or(u64::MAX);
        Ok(newest_us.saturating_sub(reached_us) >= quiet_us && is_quiet(&metrics, newest_us - quiet_us))
    }

    /// What is left when a version cannot hand over: begin early enough, if that was asked for.
    async fn rewind(&self, planned: &Planned, old: &Version, reason: String) -> Result<(), DeployError> {
        let name = old.pipeline.name.clone();
        let Some(by) = self.options.rewind else { return Err(DeployError::Lost { name, reason }) };
        // It may run into its error again and again.
        self.stop_now(&name, &old.pipeline.id).await?;
        let positions = self.handover.earlier(&planned.name, planned.source, by).await?;
        let rewind_s = by.as_secs();
        warn!(old = name, reason, rewind_s, "begins earlier than the old version ended: some mail is doubled");
        Ok(self.handover.set(&planned.name, planned.source, &positions).await?)
    }
}
