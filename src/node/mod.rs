//! The parts put together in one process.
//!
//! - [`role`]: what can run, and how each is started
//! - [`recipients`]: the directory and quotas, as reception asks for them
//! - [`background`]: threads that give way to reception and reading
//! - [`services`]: what all of it stands on: a data directory, or what a cluster shares
//! - [`status`]: health and metrics over HTTP
//! - [`maintenance`]: retention and the like
//! - [`progress`]: how far screening and landing have come, and waiting for them
//! - [`secret`]: secrets that the data directory keeps
//! - [`restartable`]: a part that can be stopped and started again
//! - [`lag`]: how far its groups are behind
//! - [`health`]: whether it can do what it is there for
//! - [`check`]: what a start would fail at
//! - [`audit`], [`rebuild`]: what operators ask of a running node

mod audit;
mod background;
pub mod check;
mod groups;
mod health;
mod lag;
mod maintenance;
mod members;
mod progress;
mod rebuild;
mod recipients;
mod restartable;
mod role;
mod secret;
pub mod services;
mod status;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use millrace_directory::Directory;
use millrace_pipelines::Pipeline;
use millrace_query::mail::{FreshMail, Mailboxes, Search};
use millrace_query::sql::{SqlEngine, SqlOptions};
use millrace_query::tables::Tables;
use millrace_storage::Storage;
use millrace_storage::cluster::kafka;
use millrace_udfs::Stages;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Config, StorageKind};
use background::Background;
use restartable::Restartable;

use members::WatchedLog;
pub use role::Role;
use services::Services;

/// How long the parts may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// How long leaving the log's groups may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A running Millrace.
pub struct Node {
    pub config: Config,
    pub storage: Storage,
    /// The same log, which knows whether this process's members come round.
    watched: Arc<WatchedLog>,
    pub directory: Arc<Directory>,
    pub tables: Arc<Tables>,
    pub mailboxes: Arc<Mailboxes>,
    pub search: Arc<Search>,
    pub sql: Arc<SqlEngine>,
    pub stages: Arc<Stages>,
    /// As configured; one of them screens.
    pub pipelines: Vec<Pipeline>,
    /// The group of that one.
    screening: String,
    /// Held while a dead letter is tried again, so that it is tried once.
    pub retrying: tokio::sync::Mutex<()>,
    /// Ids of messages that imports have brought in and not finished.
    pub importing: Mutex<HashSet<String>>,
    /// Whether the data directory was empty.
    pub is_new: bool,
    /// What was asked to run here, once it is started.
    roles: OnceLock<Vec<Role>>,
    tasks: Mutex<JoinSet<anyhow::Result<&'static str>>>,
    /// Ends the edges: no more mail, no more requests.
    edges: CancellationToken,
    /// Ends what works behind them.
    workers: CancellationToken,
    lander: Restartable,
    indexer: Restartable,
    background: Background,
}

impl Node {
    /// Opens the data directory and all that lives in it. Nothing runs yet.
    ///
    /// # Errors
    /// What cannot be opened, and what to do about it.
    pub async fn open(config: Config) -> anyhow::Result<Arc<Self>> {
        let is_new = config.storage == StorageKind::Embedded && !config.data_dir.join("log").exists();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir).with_context(|| {
            format!("{} cannot be made; choose another directory with --data", config.data_dir.display())
        })?;
        let pipelines = millrace_pipelines::configured(config.pipelines.dir.as_deref()).context("pipelines.dir")?;
        let screening = groups::screening(&pipelines)?.to_owned();
        let Services { mut storage, tables, search } = services::open(&config, &groups::all(&pipelines)).await?;
        let watched = Arc::new(WatchedLog::new(storage.log));
        storage.log = watched.clone();
        let directory = Directory::open(storage.log.clone()).await?;
        if is_new {
            directory.add_domain("millrace.test").await?;
        }
        let stages = Arc::new(Stages::new(role::stage_options(&config, &storage)?)?);
        let background = Background::start(config.storage == StorageKind::Embedded)?;
        let (log, hot) = (storage.log.clone(), storage.hot.clone());
        let mailboxes =
            Arc::new(Mailboxes::new(log.clone(), hot.clone(), tables.clone(), search.clone(), Default::default()));
        let fresh = Arc::new(FreshMail::new(log.clone(), hot));
        let sql = Arc::new(SqlEngine::new(tables.clone(), Some(log), Some(fresh), SqlOptions::default())?);
        let lander = role::mail_lander(&config, &storage, &tables, &background);
        let indexer = role::indexer(&storage, &tables, &search, &background);
        Ok(Arc::new(Self {
            config,
            storage,
            watched,
            directory,
            tables,
            mailboxes,
            search,
            sql,
            stages,
            pipelines,
            screening,
            retrying: tokio::sync::Mutex::default(),
            importing: Mutex::default(),
            is_new,
            roles: OnceLock::new(),
            tasks: Mutex::default(),
            edges: CancellationToken::new(),
            workers: CancellationToken::new(),
            lander,
            indexer,
            background,
        }))
    }

    /// Starts roles, and gives the addresses that they listen on.
    ///
    /// # Errors
    /// When an address is taken, or a certificate or a pipeline cannot be used.
    pub async fn start(self: &Arc<Self>, roles: &[Role]) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
        let mut addresses = Vec::new();
        let roles = self.roles.get_or_init(|| roles.to_vec());
        if let Err(error) = self.require(&[Role::Lander]) {
            warn!("mail cannot be read here, and mail to accounts with a quota is put off: {error}");
        }
        for role in roles {
            addresses.extend(role.start(self).await?);
        }
        if self.is_in_cluster() && !roles.is_empty() && !self.runs(Role::Api) {
            addresses.push(status::serve(self).await?);
        }
        self.spawn("tables", {
            let (tables, shutdown) = (self.tables.clone(), self.workers.clone());
            async move {
                tables.follow(shutdown).await;
                Ok(())
            }
        });
        self.spawn("directory", {
            let (directory, shutdown) = (self.directory.clone(), self.workers.clone());
            async move {
                directory.follow(shutdown).await;
                Ok(())
            }
        });
        self.spawn("lag", lag::tell(self.clone(), self.workers.clone()));
        self.spawn("maintenance", maintenance::run(self.storage.clone(), self.workers.clone()));
        Ok(addresses)
    }

    /// Lets commands reach this node.
    ///
    /// # Errors
    /// When the socket cannot be made in the data directory.
    pub fn serve_admin(self: &Arc<Self>) -> anyhow::Result<()> {
        let listener = crate::admin::bind(&self.config.data_dir)?;
        self.spawn("admin", crate::admin::serve(listener, self.clone(), self.edges.clone()));
        Ok(())
    }

    /// Runs a part that someone at the other end waits for.
    fn spawn(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.lock().spawn(named(name, task));
    }

    /// Runs a part that may give way.
    fn spawn_behind(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.tasks.lock().spawn_on(named(name, task), self.background.handle());
    }

    /// Waits until a part fails, which none should, and says how.
    pub async fn failed(&self) -> anyhow::Error {
        loop {
            let ended = self.tasks.lock().try_join_next();
            match ended {
                Some(Ok(Ok(name))) => return anyhow::anyhow!("{name} ended by itself"),
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return error.into(),
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Ends the edges first, then the workers behind them, which land what they have.
    ///
    /// # Errors
    /// When a part does not end in time or ends badly; nothing that was answered with 250 is lost by that.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.edges.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let end = async {
            // The edges hang on no worker, so both may end together; what is in the log is taken up at the next start.
            self.workers.cancel();
            // One that ends badly keeps no other from ending well.
            let mut result = self.indexer.stop().await;
            result = result.and(self.lander.stop().await);
            while let Some(ended) = tasks.join_next().await {
                result = result.and(ended.map_err(Into::into).and_then(|ended| ended.map(drop)));
            }
            result
        };
        let ended = tokio::time::timeout(STOP_TIMEOUT, end).await;
        kafka::all_left(LEAVE_TIMEOUT).await;
        ended.context("some parts did not end in time")?
    }

    /// Whether storage is shared with other processes.
    pub fn is_in_cluster(&self) -> bool {
        self.config.storage == StorageKind::Cluster
    }

    /// Whether a role runs here.
    pub fn runs(&self, role: Role) -> bool {
        self.roles.get().is_some_and(|roles| roles.contains(&role))
    }

    /// Refuses what needs roles that do not run here.
    ///
    /// # Errors
    /// Which are missing, and how to start them.
    pub fn require(&self, needed: &[Role]) -> anyhow::Result<()> {
        // Other processes of a cluster run them.
        if self.is_in_cluster() {
            return Ok(());
        }
        let missing: Vec<_> = needed.iter().filter(|role| !self.runs(**role)).map(Role::to_string).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let running = self.roles.get().into_iter().flatten().map(Role::to_string);
        let all: Vec<_> = running.chain(missing.iter().cloned()).collect();
        anyhow::bail!(
            "the node that runs here has no {}; stop it, and start `millrace up`, or `millrace run {}`",
            missing.join(" and no "),
            all.join(" "),
        )
    }
}

async fn named(
    name: &'static str,
    task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<&'static str> {
    task.await.with_context(|| format!("{name} ended"))?;
    Ok(name)
}
