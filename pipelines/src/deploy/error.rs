//! Why a function or a pipeline is not as planned, and how things stand then.

use millrace_storage::LogError;

use super::client::ArroyoError;

/// What stopped a deployment, and what to do next.
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
    #[error(
        "{other} was started by somebody else at the same time, so {name} was taken back: see that one deployment runs \
         at a time, and repeat"
    )]
    TakenBack { name: String, other: String },
    #[error("{name} does not run: {reason}; no other version runs: mend it and repeat")]
    NotRunning { name: String, reason: String },
    #[error("{name} is still {state}: repeat to see how it ends")]
    NotYetRunning { name: String, state: String },
    #[error(
        "{name} goes on running, since it {reason}; repeat when there is less to do, or, if it never gets ahead, with a \
         rewind (--rewind-s), which stops it at once, begins earlier and doubles some mail"
    )]
    NotHandedOver { name: String, reason: String },
    #[error(
        "{name} is to stop and is still {state}: repeat, and the handover begins anew; or repeat with a rewind \
         (--rewind-s), which stops it at once, begins earlier and doubles some mail"
    )]
    NotStopped { name: String, state: String },
    #[error(
        "{name} has failed ({reason}), so where it stood is not known exactly; repeat with a rewind (--rewind-s) to \
         begin earlier and double some mail, or mend what made it fail so that it runs again"
    )]
    Lost { name: String, reason: String },
}

impl DeployError {
    /// Whether a version may be ended all the same, by beginning earlier.
    pub(super) fn may_be_rewound(&self) -> bool {
        matches!(self, Self::NotHandedOver { .. } | Self::NotStopped { .. } | Self::Lost { .. })
    }
}
