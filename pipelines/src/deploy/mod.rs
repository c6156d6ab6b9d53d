//! Pipelines on Arroyo: what is deployed there, checked and measured. The SQL files are the local runner's.
//!
//! In reading order:
//! - [`options`]: how topics are reached, and how a job is run
//! - [`functions`]: the one-file functions, stamped with the version of the crate behind them
//! - [`fill`]: what the deployer writes into each table of a SQL file
//! - [`plan`]: [`Plan`], what is to run, and its versions
//! - [`api`], [`client`]: Arroyo's REST API
//! - [`deployer`]: [`deploy`], which can be repeated; [`versions`]: what there is; [`retire`]: ending it; [`job`]: waiting
//!   for a job; [`error`]: why it is not as planned
//! - [`handover`]: how one version takes over from another without a lost or a doubled record; [`kafka`]: on Kafka;
//!   [`quiet`]: when an old one has finished what it began
//! - [`check`]: what would not run; [`lag`]: how far pipelines are behind
//! - [`report`]: results as tables
//!
//! Not here: running pipelines in this process ([`crate::run`]).

mod api;
mod check;
mod client;
mod deployer;
mod error;
mod fill;
mod functions;
mod handover;
mod job;
mod kafka;
mod lag;
mod options;
mod plan;
mod quiet;
mod report;
mod retire;
mod versions;

pub use check::{Check, CheckReport, check, check_there};
pub use client::{ArroyoClient, ArroyoError};
pub use deployer::{DeployReport, Deployed, Outcome, deploy};
pub use error::DeployError;
pub use fill::fill;
pub use functions::{Function, FunctionState};
pub use handover::{Handover, Hold};
pub use lag::{Lag, LagReport, Runner, lag};
pub use options::{CommitMode, Connection, DeployOptions, Sasl};
pub use plan::{Plan, Planned};
pub use report::{ListReport, list};
pub use versions::running;
