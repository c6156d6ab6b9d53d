//! The command line: what can be said, and nothing of how it is done.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::node::Role;

/// Mail as a stream: SMTP in, SQL stages, Iceberg tables, JMAP out.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Data directory [default: ./millrace-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Configuration file; `millrace config example` prints one with every key
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process
    Up(Listen),
    /// Run some of it in this process
    Run {
        /// What to run
        #[arg(required = true, value_enum)]
        roles: Vec<Role>,
        #[command(flatten)]
        listen: Listen,
    },
    /// Domains that we take mail for
    #[command(subcommand)]
    Domain(Domain),
    /// Accounts and aliases
    #[command(subcommand)]
    Account(Account),
    /// Bring in an mbox file, a Maildir or a folder of .eml files; safe to repeat
    Import {
        path: PathBuf,
        /// Address of the account that gets the mail
        #[arg(long, value_name = "ADDRESS")]
        account: String,
    },
    /// Ask the tables in SQL, mail that has just come in included
    Query {
        sql: String,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Check that every message answered with 250 is where it belongs, once
    Audit {
        /// Also read every body back and compare its digest
        #[arg(long)]
        bodies: bool,
        /// Print the report as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Records that a stage could not process
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// Build again what can be built from the tables and the log
    Rebuild {
        #[arg(value_enum)]
        what: Rebuild,
    },
    /// The SQL pipelines, and Arroyo where it runs them
    #[command(subcommand)]
    Pipelines(Pipelines),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Clone, Debug, Default, Args)]
pub struct Listen {
    /// Address for mail from other servers; port 0 picks one [default: 127.0.0.1:2525]
    #[arg(long, value_name = "ADDR")]
    pub smtp: Option<SocketAddr>,
    /// Address for JMAP, push and metrics; port 0 picks one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub enum Domain {
    /// Take mail for a domain
    Add { name: String },
    /// Show the domains
    List,
    /// Take no more mail for a domain that has no accounts
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account
    Add {
        address: String,
        /// Read the password from standard input, up to the end of the line
        #[arg(long)]
        password_stdin: bool,
        /// Most bytes of mail it may hold
        #[arg(long, value_name = "BYTES")]
        quota: Option<u64>,
    },
    /// Show accounts and aliases
    List,
    /// Remove an account, or an alias
    Remove { address: String },
    /// Make an address lead to accounts
    Alias {
        alias: String,
        #[arg(required = true)]
        accounts: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// Show what is there, newest first
    List,
    /// Show one whole, with the beginning of its message
    Show { id: String },
    /// Send one through the pipeline again, or all
    Retry {
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Pipelines {
    /// Show the pipelines, and which versions of them Arroyo runs
    List,
    /// Check that every file parses and plans, that its functions are there and that its tables match the topics
    Check,
    /// Make or update functions and pipelines at Arroyo, and wait until they run; can be repeated
    Deploy {
        /// Tasks of each operator
        #[arg(long, value_name = "TASKS")]
        parallelism: Option<u64>,
        /// Replace a version that has failed for good, beginning so many seconds before it stood: nothing is lost, some
        /// mail is doubled
        #[arg(long, value_name = "SECONDS")]
        rewind_s: Option<u64>,
    },
    /// Show how many records and seconds the pipelines are behind, by partition
    Lag,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print an example file with every key and its default
    Example,
    /// Try everything that the configuration names: reach, rights, versions
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
    Arrow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rebuild {
    /// Recent mail, from the log and the tables
    Hot,
    /// The search index, from the tables and the bodies
    Search,
}
