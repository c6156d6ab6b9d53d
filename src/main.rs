//! `millrace`: the command line over the parts.
//!
//! - [`cli`]: what can be said
//! - [`config`]: what can be configured
//! - [`command`]: one file per command
//! - [`node`]: the parts put together in one process
//! - [`admin`]: how a command reaches the node that runs, or one of its own

mod admin;
mod cli;
mod command;
mod config;
mod node;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("MILLRACE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,millrace=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match command::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
