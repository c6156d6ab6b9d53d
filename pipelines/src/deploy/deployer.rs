//! Bringing Arroyo to what a plan says. It can be repeated at any moment: it looks at what is there and does what is
//! missing.

use millrace_storage::LogError;
use tracing::{info, warn};

use super::api::{PipelineInfo, PipelinePost, Stop};
use super::client::{ArroyoClient, ArroyoError};
use super::functions::{Function, FunctionState};
use super::handover::{Handover, Hold};
use super::job::{Waited, is_over, until_over, until_running};
use super::options::DeployOptions;
use super::plan::{Plan, Planned, split_name};
use super::quiet::{is_quiet, newest_us};

/// Why a function or a pipeline is not as planned, and how things stand.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Arroyo(#[from] ArroyoError),
    #[error("the source cannot be handed over: {0}; repeat when the brokers answer")]
    Log(#[from] LogError),
    #[error("the function {name} does not compile, and nothing has changed: {errors}")]
    Function { name: &'static str, errors: String },
    #[error("{0} was not tried: a function that it calls is not there")]
    FunctionMissing(String),
    #[error("Arroyo does not plan {name}, and nothing has changed: {errors}")]
    Query { name: String, errors: String },
    #[error(
        "{members} processes of the local runner run {name}: stop those of the role 'pipelines' and repeat, else mail \
         would be screened twice"
    )]
    OtherRunner { name: String, members: usize },
    #[error("both {name} and {other} run, which doubles mail: stop {other} in Arroyo's console and repeat")]
    TwoRun { name: String, other: String },
    #[error("{name} does not run: {reason}; no other version runs: mend it and repeat")]
    NotRunning { name: String, reason: String },
    #[error("{name} is still {state}: repeat to see how it ends")]
    NotYetRunning { name: String, state: String },
    #[error("{name} goes on running, since it {reason}; repeat when there is less to do")]
    NotHandedOver { name: String, reason: String },
    #[error("{name} is to stop and is still {state}: repeat, and the handover begins anew")]
    NotStopped { name: String, state: String },
    #[error(
        "{name} has failed ({reason}), so where it stood is not known exactly; repeat with a rewind to begin earlier \
         and double some mail, or mend what made it fail so that it runs again"
    )]
    Lost { name: String, reason: String },
}

/// What became of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This version runs already.
    Unchanged,
    /// This version was there and not running.
    StartedAgain,
    /// There was no other version.
    Started,
    /// It took over from these versions.
    TookOver(Vec<String>),
}

/// One pipeline's part of a report.
#[derive(Debug)]
pub struct Deployed {
    pub name: String,
    pub version: String,
    pub outcome: Result<Outcome, DeployError>,
}

/// What was done.
#[derive(Debug)]
pub struct DeployReport {
    pub functions: Vec<(&'static str, Result<FunctionState, DeployError>)>,
    pub pipelines: Vec<Deployed>,
}

impl DeployReport {
    /// Whether all is as planned.
    pub fn is_complete(&self) -> bool {
        self.functions.iter().all(|(_, state)| state.is_ok())
            && self.pipelines.iter().all(|pipeline| pipeline.outcome.is_ok())
    }
}

/// Makes functions and pipelines as planned and waits until they run. What fails stands in the report; the others are
/// deployed all the same.
///
/// # Errors
/// Arroyo cannot be reached at all: nothing was done.
pub async fn deploy(
    plan: &Plan,
    client: &ArroyoClient,
    handover: &dyn Handover,
    options: &DeployOptions,
) -> Result<DeployReport, ArroyoError> {
    client.ping().await?;
    let deployer = Deployer { client, handover, options };
    let mut functions = Vec::with_capacity(plan.functions.len());
    for function in &plan.functions {
        functions.push((function.name, deployer.function(function).await));
    }
    let mut pipelines = Vec::with_capacity(plan.pipelines.len());
    for planned in &plan.pipelines {
        let is_there =
            |function: &Function| functions.iter().any(|(name, state)| *name == function.name && state.is_ok());
        let outcome = if planned.functions.iter().all(is_there) {
            deployer.pipeline(planned).await
        } else {
            Err(DeployError::FunctionMissing(planned.full_name()))
        };
        if let Err(error) = &outcome {
            warn!(pipeline = planned.full_name(), %error, "not deployed");
        }
        pipelines.push(Deployed { name: planned.name.clone(), version: planned.version.clone(), outcome });
    }
    Ok(DeployReport { functions, pipelines })
}

struct Deployer<'a> {
    client: &'a ArroyoClient,
    handover: &'a dyn Handover,
    options: &'a DeployOptions,
}

/// A version of a pipeline at Arroyo.
struct Version {
    pipeline: PipelineInfo,
    /// Of its job.
    state: String,
    job: String,
    /// Whether it ever began a checkpoint. Until then it commits no record and no position.
    has_begun: bool,
}

impl Deployer<'_> {
    /// Compiles a function before an older one goes: pipelines that run keep theirs in any case.
    async fn function(&self, function: &Function) -> Result<FunctionState, DeployError> {
        let definition = function.definition();
        let found = self.client.functions().await?.into_iter().find(|found| found.name == function.name);
        if found.as_ref().is_some_and(|found| found.definition == definition) {
            return Ok(FunctionState::Unchanged);
        }
        info!(function = function.name, "compiling at Arroyo");
        let errors = self.client.validate_function(&definition).await?;
        if !errors.is_empty() {
            return Err(DeployError::Function { name: function.name, errors: errors.join("\n") });
        }
        if let Some(found) = &found {
            self.client.delete_function(&found.id).await?;
        }
        self.client.create_function(&definition).await?;
        Ok(if found.is_some() { FunctionState::Replaced } else { FunctionState::Made })
    }

    async fn pipeline(&self, planned: &Planned) -> Result<Outcome, DeployError> {
        let members = self.handover.members(&planned.name).await?;
        if members > 0 {
            return Err(DeployError::OtherRunner { name: planned.name.clone(), members });
        }
        let errors = self.client.validate_query(&planned.sql, &[]).await?;
        if !errors.is_empty() {
            return Err(DeployError::Query { name: planned.full_name(), errors: errors.join("; ") });
        }
        let mut versions = self.versions(planned).await?;
        self.discard_untouched(planned, &mut versions).await?;
        if let Some(outcome) = self.again(planned, &versions).await? {
            return Ok(outcome);
        }
        self.retire(planned, &versions).await?;
        let post = PipelinePost {
            name: &planned.full_name(),
            query: &planned.sql,
            parallelism: self.options.parallelism,
            checkpoint_interval_micros: u64::try_from(self.options.checkpoint_interval.as_micros()).unwrap_or(u64::MAX),
            env_vars: &self.options.variables,
        };
        let made = self.client.create_pipeline(&post).await?;
        info!(pipeline = planned.full_name(), "made at Arroyo");
        self.wait_until_running(&planned.full_name(), &made.id, 0).await?;
        self.sweep(&versions).await;
        if versions.is_empty() {
            return Ok(Outcome::Started);
        }
        Ok(Outcome::TookOver(versions.into_iter().map(|version| version.pipeline.name).collect()))
    }

    /// All versions of a pipeline at Arroyo, newest first.
    async fn versions(&self, planned: &Planned) -> Result<Vec<Version>, DeployError> {
        let mut pipelines = self.client.pipelines().await?;
        pipelines.retain(|pipeline| split_name(&pipeline.name).is_some_and(|(name, _)| name == planned.name));
        pipelines.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.created_at));
        let mut versions = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let job = self.client.job(&pipeline.id).await?;
            let has_begun = !self.client.checkpoints(&pipeline.id, &job.id).await?.is_empty();
            versions.push(Version { pipeline, state: job.state, job: job.id, has_begun });
        }
        Ok(versions)
    }

    /// Ends and deletes versions that have made no record and moved no position: those that never came to run. The one
    /// that is planned may still come to it.
    async fn discard_untouched(&self, planned: &Planned, versions: &mut Vec<Version>) -> Result<(), DeployError> {
        let mut kept = Vec::with_capacity(versions.len());
        for version in versions.drain(..) {
            let is_planned = version.pipeline.name == planned.full_name() && !is_over(&version.state);
            if version.has_begun || is_planned {
                kept.push(version);
                continue;
            }
            let id = &version.pipeline.id;
            if !is_over(&version.state) {
                self.client.stop_pipeline(id, Stop::Immediate).await?;
                if let Waited::NotYet(state) = until_over(self.client, id, self.options).await? {
                    return Err(DeployError::NotStopped { name: version.pipeline.name, state });
                }
            }
            self.client.delete_pipeline(id).await?;
        }
        *versions = kept;
        Ok(())
    }

    /// Where the version that is planned is there and is the newest, sees that it runs. None when it is to be made anew.
    async fn again(&self, planned: &Planned, versions: &[Version]) -> Result<Option<Outcome>, DeployError> {
        let Some((newest, older)) = versions.split_first() else { return Ok(None) };
        if newest.pipeline.name != planned.full_name() {
            return Ok(None);
        }
        if let Some(other) = older.iter().find(|version| !is_over(&version.state)) {
            let (name, other) = (newest.pipeline.name.clone(), other.pipeline.name.clone());
            return Err(DeployError::TwoRun { name, other });
        }
        self.start_again(newest).await?;
        self.sweep(older).await;
        Ok(Some(if is_over(&newest.state) { Outcome::StartedAgain } else { Outcome::Unchanged }))
    }

    /// Lets a version that has ended go on from its last checkpoint, and waits until it runs.
    async fn start_again(&self, version: &Version) -> Result<(), DeployError> {
        let Version { pipeline, state, job, .. } = version;
        let known = self.client.errors(&pipeline.id, job).await?.len();
        match state.as_str() {
            "Failed" => self.client.restart_pipeline(&pipeline.id).await?,
            state if is_over(state) => self.client.stop_pipeline(&pipeline.id, Stop::None).await?,
            _ => {}
        }
        self.wait_until_running(&pipeline.name, &pipeline.id, known).await
    }

    async fn wait_until_running(&self, name: &str, id: &str, known: usize) -> Result<(), DeployError> {
        let name = name.to_owned();
        match until_running(self.client, id, known, self.options).await? {
            Waited::Done => Ok(()),
            Waited::Never(reason) => Err(DeployError::NotRunning { name, reason }),
            Waited::NotYet(state) => Err(DeployError::NotYetRunning { name, state }),
        }
    }

    /// Ends all other versions, and sees that the group stands where the next one is to begin.
    async fn retire(&self, planned: &Planned, versions: &[Version]) -> Result<(), DeployError> {
        if let Some(running) = versions.iter().find(|version| !is_over(&version.state)) {
            return self.take_over(planned, running).await;
        }
        let Some(last) = versions.first() else { return Ok(()) };
        if self.handover.is_exact(&planned.name, planned.source).await? {
            return Ok(());
        }
        // It ended otherwise than by a handover that was finished: it goes on from its own checkpoint, and hands over.
        match self.start_again(last).await {
            Ok(()) => self.take_over(planned, last).await,
            Err(DeployError::NotRunning { reason, .. }) => self.rewind(planned, last, reason).await,
            Err(other) => Err(other),
        }
    }

    /// The handover from a version that runs.
    async fn take_over(&self, planned: &Planned, old: &Version) -> Result<(), DeployError> {
        let name = &old.pipeline.name;
        info!(old = name, "handing over");
        let hold = self.handover.hold(&planned.name, planned.source).await?;
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

    /// What is left when a version has failed: begin early enough, if that was asked for.
    async fn rewind(&self, planned: &Planned, old: &Version, reason: String) -> Result<(), DeployError> {
        let name = old.pipeline.name.clone();
        let Some(by) = self.options.rewind else { return Err(DeployError::Lost { name, reason }) };
        let id = &old.pipeline.id;
        if !is_over(&self.client.job(id).await?.state) {
            // It runs into its error again and again.
            self.client.stop_pipeline(id, Stop::Immediate).await?;
            if let Waited::NotYet(state) = until_over(self.client, id, self.options).await? {
                return Err(DeployError::NotStopped { name, state });
            }
        }
        let positions = self.handover.earlier(&planned.name, planned.source, by).await?;
        warn!(
            old = name,
            rewind_s = by.as_secs(),
            "begins earlier than the failed version ended: some mail is doubled"
        );
        self.handover.set(&planned.name, planned.source, &positions).await?;
        Ok(())
    }

    /// Deletes versions that another has taken over from, so that nobody starts them again.
    async fn sweep(&self, versions: &[Version]) {
        for version in versions {
            if let Err(error) = self.client.delete_pipeline(&version.pipeline.id).await {
                warn!(pipeline = version.pipeline.name, %error, "an old version could not be deleted");
            }
        }
    }
}
