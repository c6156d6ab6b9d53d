//! Waiting for a job of Arroyo's.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::api::Job;
use super::client::{ArroyoClient, ArroyoError};
use super::options::DeployOptions;

/// Errors of a job that are told.
const TOLD: usize = 3;
/// How long a job may stay ended after it was told to run: Arroyo's controller looks now and then.
const START_GRACE: Duration = Duration::from_secs(20);

/// Whether a job in `state` does nothing until it is started again.
pub(crate) fn is_over(state: &str) -> bool {
    matches!(state, "Stopped" | "Finished" | "Failed")
}

/// How a wait for a job ended.
pub(crate) enum Waited {
    /// It is as wanted.
    Done,
    /// It will not come to it: why.
    Never(String),
    /// It has not come to it in time: its state.
    NotYet(String),
}

/// Waits until a job runs, has run for a while without an error, and has finished a checkpoint: before that nothing of it
/// is seen, and it would begin again elsewhere. `known` errors were there before.
pub(crate) async fn until_running(
    client: &ArroyoClient,
    pipeline: &str,
    known: usize,
    options: &DeployOptions,
) -> Result<Waited, ArroyoError> {
    let begun = Instant::now();
    let mut has_moved = false;
    let mut running_since: Option<Instant> = None;
    loop {
        let job = client.job(pipeline).await?;
        let errors = client.errors(pipeline, &job.id).await?.len();
        let is_waiting = is_over(&job.state) && !has_moved && begun.elapsed() < START_GRACE;
        has_moved |= !is_over(&job.state);
        if is_over(&job.state) && !is_waiting {
            return Ok(Waited::Never(why(client, pipeline, &job).await));
        }
        if job.state == "Running" && errors <= known {
            let has_settled = running_since.get_or_insert_with(Instant::now).elapsed() >= options.settle_time;
            if has_settled && client.has_finished_checkpoint(pipeline, &job.id).await? {
                return Ok(Waited::Done);
            }
        } else if running_since.is_some() || errors > known {
            // It ran into an error and is started again, from the same place, as often as Arroyo allows.
            return Ok(Waited::Never(why(client, pipeline, &job).await));
        }
        if begun.elapsed() >= options.start_timeout {
            let awaits = if running_since.is_some() { ", without a finished checkpoint" } else { "" };
            return Ok(Waited::NotYet(job.state + awaits));
        }
        sleep(options.poll_interval).await;
    }
}

/// Waits until a job has ended.
pub(crate) async fn until_over(
    client: &ArroyoClient,
    pipeline: &str,
    options: &DeployOptions,
) -> Result<Waited, ArroyoError> {
    let deadline = Instant::now() + options.stop_timeout;
    loop {
        let job = client.job(pipeline).await?;
        match job.state.as_str() {
            "Stopped" => return Ok(Waited::Done),
            state if is_over(state) => return Ok(Waited::Never(why(client, pipeline, &job).await)),
            _ if Instant::now() >= deadline => return Ok(Waited::NotYet(job.state)),
            _ => sleep(options.poll_interval).await,
        }
    }
}

/// What a job says of itself and what its newest errors say.
async fn why(client: &ArroyoClient, pipeline: &str, job: &Job) -> String {
    let reason = job.failure_reason.as_ref().map(|reason| &reason.error).or(job.failure_message.as_ref());
    let mut told = vec![format!("its job is {}", job.state)];
    told.extend(reason.cloned());
    let mut errors = client.errors(pipeline, &job.id).await.unwrap_or_default();
    errors.sort_by_key(|error| std::cmp::Reverse(error.created_at));
    for error in errors.into_iter().take(TOLD) {
        let details = error.details.lines().next().unwrap_or_default();
        let text = if details.is_empty() { error.message } else { format!("{}: {details}", error.message) };
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told.join("; ")
}
