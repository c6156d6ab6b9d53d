//! One file per command. Each reads its arguments, makes one call, and prints.

mod account;
mod audit;
mod check;
mod dead_letter;
mod domain;
mod import;
mod pipelines;
mod query;
mod rebuild;
mod up;

use anyhow::Context;

use crate::admin::client::Client;
use crate::cli::{Cli, Command, Common, ConfigCommand, Listen};
use crate::config::{self, Config, StorageKind};
use crate::node::Role;

/// Runs a command line.
///
/// # Errors
/// What went wrong and what to do next, for the person at the terminal.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    if let Command::Config(ConfigCommand::Example) = cli.command {
        print!("{}", config::example());
        return Ok(());
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be started")?;
    let outcome = runtime.block_on(Box::pin(dispatch(cli)));
    // A thread that waits for a service that never answers holds up nobody.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let mut config = load(&cli.common)?;
    match cli.command {
        Command::Up(listen) => {
            apply(&mut config, &listen);
            up::run(config, &Role::ALL).await
        }
        Command::Run { roles, listen } => {
            apply(&mut config, &listen);
            up::run(config, &roles).await
        }
        Command::Domain(command) => with_client(config, async |client| domain::run(client, command).await).await,
        Command::Account(command) => with_client(config, async |client| account::run(client, command).await).await,
        Command::Import { path, account } => {
            with_client(config, async |client| import::run(client, &path, &account).await).await
        }
        Command::Query { sql, format } => {
            must_exist(&config)?;
            with_client(config, async |client| query::run(client, &sql, format).await).await
        }
        Command::Audit { bodies, json } => {
            must_exist(&config)?;
            with_client(config, async |client| audit::run(client, bodies, json).await).await
        }
        Command::DeadLetter(command) => {
            must_exist(&config)?;
            with_client(config, async |client| dead_letter::run(client, command).await).await
        }
        Command::Rebuild { what } => {
            must_exist(&config)?;
            with_client(config, async |client| rebuild::run(client, what).await).await
        }
        Command::Pipelines(command) => Box::pin(pipelines::run(config, command)).await,
        Command::Config(ConfigCommand::Example) => Ok(()),
        Command::Config(ConfigCommand::Check) => check::run(&config).await,
    }
}

fn load(common: &Common) -> anyhow::Result<Config> {
    let mut config = Config::load(common.config.as_deref())?;
    if let Some(data) = &common.data {
        config.data_dir = data.clone();
    }
    Ok(config)
}

fn apply(config: &mut Config, listen: &Listen) {
    if let Some(smtp) = listen.smtp {
        config.smtp.listen = smtp;
    }
    if let Some(http) = listen.http {
        config.http.listen = http;
    }
}

async fn with_client(config: Config, work: impl AsyncFnOnce(&Client) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let client = Client::connect(config).await?;
    let result = work(&client).await;
    let closed = client.close().await;
    result.and(closed)
}

/// Commands that look at what there is do not make a new directory: an audit of nothing proves nothing.
fn must_exist(config: &Config) -> anyhow::Result<()> {
    let data = config.data_dir.display();
    anyhow::ensure!(
        config.storage == StorageKind::Cluster || config.data_dir.join("log").exists(),
        "{data} is no data directory of Millrace; say which with --data, or make one with `millrace up`"
    );
    Ok(())
}

/// Prints rows as columns, the first row being the header.
fn print_columns(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}
