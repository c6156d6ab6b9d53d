//! Bringing Arroyo to what a plan says. It can be repeated at any moment: it looks at what is there and does what is
//! missing.

use tracing::{info, warn};

use super::api::{PipelineInfo, PipelinePost, Stop};
use super::client::{ArroyoClient, ArroyoError};
use super::error::DeployError;
use super::functions::{Function, FunctionState};
use super::handover::Handover;
use super::job::{Waited, is_over, until_running};
use super::options::DeployOptions;
use super::plan::{Plan, Planned};
use super::versions::{Version, at_most_one_is_on, beginning_at, versions};

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
    /// Variables that Arroyo was told and does not tell back: its workers have them only if they stand in their own
    /// environment. All of them at an Arroyo 0.15, which takes none.
    pub untold: Vec<String>,
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
        let untold = if outcome.is_ok() { deployer.untold(planned).await } else { Vec::new() };
        pipelines.push(Deployed { name: planned.name.clone(), version: planned.version.clone(), outcome, untold });
    }
    Ok(DeployReport { functions, pipelines })
}

pub(super) struct Deployer<'a> {
    pub(super) client: &'a ArroyoClient,
    pub(super) handover: &'a dyn Handover,
    pub(super) options: &'a DeployOptions,
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
        let mut versions = versions(self.client, &planned.name).await?;
        at_most_one_is_on(&versions)?;
        self.discard_untouched(planned, &mut versions).await?;
        if let Some(outcome) = self.again(planned, &versions).await? {
            return Ok(outcome);
        }
        self.retire(planned, &versions).await?;
        let made = self.make(planned).await?;
        self.sees_no_other(planned, &made).await?;
        self.wait_until_running(planned, &made, 0).await?;
        self.sweep(&versions).await;
        if versions.is_empty() {
            return Ok(Outcome::Started);
        }
        Ok(Outcome::TookOver(versions.into_iter().map(|version| version.pipeline.name).collect()))
    }

    /// Makes the version that is planned, which begins where the group stands. Its positions are noted as exact, also
    /// when no version was there before, so that it shows when they move.
    async fn make(&self, planned: &Planned) -> Result<Version, DeployError> {
        let positions = self.handover.stands(&planned.name, planned.source).await?;
        if !self.handover.is_exact(&planned.name, planned.source).await? {
            self.handover.set(&planned.name, planned.source, &positions).await?;
        }
        let query = beginning_at(&planned.sql, &positions);
        let post = PipelinePost {
            name: &planned.full_name(),
            query: &query,
            parallelism: self.options.parallelism,
            checkpoint_interval_micros: u64::try_from(self.options.checkpoint_interval.as_micros()).unwrap_or(u64::MAX),
            env_vars: &self.options.variables,
        };
        let made = self.client.create_pipeline(&post).await?;
        info!(pipeline = planned.full_name(), ?positions, "made at Arroyo");
        let pipeline = PipelineInfo { query, ..made };
        Ok(Version { pipeline, state: "Created".to_owned(), job: String::new(), has_finished: false })
    }

    /// Takes a version back when another came to run while it was made: of two deployments at once, none doubles mail.
    async fn sees_no_other(&self, planned: &Planned, made: &Version) -> Result<(), DeployError> {
        let PipelineInfo { name, id, .. } = &made.pipeline;
        let found = versions(self.client, &planned.name).await?;
        let Some(other) = found.into_iter().find(|version| version.is_on() && version.pipeline.id != *id) else {
            return Ok(());
        };
        self.stop_now(name, id).await?;
        self.set_back(planned, made).await?;
        self.client.delete_pipeline(id).await?;
        Err(DeployError::TakenBack { name: name.clone(), other: other.pipeline.name })
    }

    /// Where the version that is planned is there and is the newest, sees that it runs. None when it is to be made anew.
    async fn again(&self, planned: &Planned, versions: &[Version]) -> Result<Option<Outcome>, DeployError> {
        let Some((newest, older)) = versions.split_first() else { return Ok(None) };
        if newest.pipeline.name != planned.full_name() {
            return Ok(None);
        }
        if let Some(other) = older.iter().find(|version| version.is_on()) {
            let (name, other) = (newest.pipeline.name.clone(), other.pipeline.name.clone());
            return Err(DeployError::TwoRun { name, other });
        }
        self.start_again(planned, newest).await?;
        self.sweep(older).await;
        Ok(Some(if newest.is_on() { Outcome::Unchanged } else { Outcome::StartedAgain }))
    }

    /// Lets a version that has ended go on from its last checkpoint, and waits until it runs.
    pub(super) async fn start_again(&self, planned: &Planned, version: &Version) -> Result<(), DeployError> {
        let Version { pipeline, state, job, .. } = version;
        let known = self.client.errors(&pipeline.id, job).await?.len();
        match state.as_str() {
            "Failed" => self.client.restart_pipeline(&pipeline.id).await?,
            state if is_over(state) => self.client.stop_pipeline(&pipeline.id, Stop::None).await?,
            _ => {}
        }
        self.wait_until_running(planned, version, known).await
    }

    /// Waits until a version has shown that it runs. One that does not, and of which nothing was seen yet, is stopped
    /// and its source set back: it would begin again behind what it has read.
    async fn wait_until_running(&self, planned: &Planned, version: &Version, known: usize) -> Result<(), DeployError> {
        let PipelineInfo { name, id, .. } = &version.pipeline;
        let reason = match until_running(self.client, id, known, self.options).await? {
            Waited::Done => return Ok(()),
            Waited::NotYet(state) => return Err(DeployError::NotYetRunning { name: name.clone(), state }),
            Waited::Never(reason) => reason,
        };
        if !version.has_finished {
            self.stop_now(name, id).await?;
            self.set_back(planned, version).await?;
        }
        Err(DeployError::NotRunning { name: name.clone(), reason })
    }

    /// Deletes versions that another has taken over from, so that nobody starts them again.
    async fn sweep(&self, versions: &[Version]) {
        for version in versions {
            if let Err(error) = self.client.delete_pipeline(&version.pipeline.id).await {
                warn!(pipeline = version.pipeline.name, %error, "an old version could not be deleted");
            }
        }
    }

    /// The variables of the workers that Arroyo does not tell back.
    async fn untold(&self, planned: &Planned) -> Vec<String> {
        let Ok(found) = versions(self.client, &planned.name).await else { return Vec::new() };
        let Some(version) = found.first() else { return Vec::new() };
        let Ok(job) = self.client.job(&version.pipeline.id).await else { return Vec::new() };
        let told = job.env_vars.unwrap_or_default();
        let is_told = |name: &String, value: &String| told.get(name).is_some_and(|told| told == value);
        let untold = self.options.variables.iter().filter(|(name, value)| !is_told(name, value));
        untold.map(|(name, _)| name.clone()).collect()
    }
}
