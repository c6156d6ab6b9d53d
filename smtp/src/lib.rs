//! The edge where mail comes in: SMTP reception (RFC 5321), until a message is durable and has been answered 250.
//!
//! Not here: who has a mailbox (the [`Recipients`] that the caller brings), how bytes are kept (`storage`), and
//! what is made of a message afterwards (`pipelines`).
//!
//! In the order in which a message meets them:
//!
//! - [`options`]: what an operator can set
//! - [`reception`]: what sessions share, and [`serve`], which accepts them; `connections` counts them
//! - `session`: one conversation, a file for each group of commands; `wire` is its bytes in and out
//! - [`command`], [`parameters`], [`address`]: parsing; [`reply`]: answering
//! - [`recipients`]: asked at RCPT
//! - [`data_scanner`]: the end of DATA; `intake`: a message while it comes, within `budget`'s memory
//! - `trace`: Return-Path and Received; `session/commit`: body, record, 250
//! - [`tls`]: the certificate for STARTTLS

pub mod address;
mod budget;
pub mod command;
mod complaint;
mod connections;
pub mod data_scanner;
mod intake;
pub mod options;
pub mod parameters;
pub mod reception;
pub mod recipients;
pub mod reply;
mod session;
pub mod tls;
mod trace;
mod wire;

pub use address::{Address, AddressError};
pub use options::{Limits, ReceptionOptions, Timeouts};
pub use reception::{BadServerName, Reception, serve};
pub use recipients::{Recipients, Resolution, Unavailable};
