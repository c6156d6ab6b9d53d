//! Millrace beside `smtp-sink` and Postfix, measured in one run on one machine, with one client.
//!
//! - [`accept`]: messages a second answered 250, with Postfix's `smtp-source` as the client of all
//! - [`corpus`]: messages a second end to end, and how long after its 250 a message is visible
//! - [`spread`]: the same in one process and in a cluster, and where the time goes
//! - [`scale`]: what a second process of a role adds
//! - [`peer`], [`cluster`]: the servers that are measured; [`flow`] is the load
//!
//! The machine is noisy: read the ratios, and the medians over `--rounds`.

mod accept;
mod cluster;
mod corpus;
mod cpu;
mod flow;
mod jmap;
mod messages;
mod metrics;
mod peer;
mod scale;
mod smtp;
mod spread;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// The binary to measure
    #[arg(long, default_value = "target/release/millrace")]
    millrace: PathBuf,
    /// Folder of messages for the end-to-end part
    #[arg(long, default_value = "corpus/package/data")]
    corpus: PathBuf,
    /// How often the folder is sent, each time with a header field that makes its messages others
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// How often each acceptance figure is taken
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Leave out Postfix, which needs root
    #[arg(long)]
    without_postfix: bool,
    /// Only this part: accept, corpus, spread or scale
    #[arg(long)]
    only: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let millrace = arguments.millrace.canonicalize().context("build it first: cargo build --release")?;
    let wants = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    if wants("accept") {
        accept::run(&millrace, arguments.rounds, !arguments.without_postfix)?;
    }
    if wants("corpus") {
        corpus::run(&millrace, &arguments.corpus, arguments.repeat)?;
    }
    if wants("spread") {
        spread::run(&millrace, &arguments.corpus, arguments.repeat)?;
    }
    if wants("scale") {
        scale::run(&millrace, &arguments.corpus, arguments.repeat)?;
    }
    Ok(())
}
