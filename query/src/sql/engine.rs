//! [`SqlEngine`]: one query at a time, with its limits.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::TryStreamExt;
use millrace_storage::Log;

use super::fresh::{FreshRows, Sources};
use super::provider::{WholeTable, register_store};
use crate::tables::{Table, Tables};

const VIEWS: &str = include_str!("views.sql");

#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement would change something.
    #[error("only SELECT, EXPLAIN, SHOW and DESCRIBE are answered: mail changes through SMTP and JMAP ({0})")]
    ReadOnly(String),
    /// The statement cannot be understood: what and where.
    #[error("{0}")]
    Statement(String),
    #[error("the query took longer than {} s; narrow it, for instance by account_id or by time", .0.as_secs())]
    Timeout(Duration),
    #[error("the result is larger than {0} bytes; select fewer columns, or add a LIMIT")]
    TooLarge(usize),
    /// Memory ran out, a file is damaged, or the log cannot be read.
    #[error("the query failed: {0}")]
    Execution(String),
}

#[derive(Clone, Copy, Debug)]
pub struct SqlOptions {
    /// Memory of all queries together, in bytes.
    pub memory_bytes: usize,
    /// Size of one result, in bytes.
    pub result_bytes: usize,
    pub timeout: Duration,
    /// Cores that one query uses.
    pub parallelism: usize,
}

impl Default for SqlOptions {
    fn default() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        Self { memory_bytes: 512 << 20, result_bytes: 256 << 20, timeout: Duration::from_secs(300), parallelism }
    }
}

/// Answers SQL over the tables and what has not landed.
pub struct SqlEngine {
    sources: Sources,
    runtime: Arc<RuntimeEnv>,
    options: SqlOptions,
}

impl SqlEngine {
    /// Without a log, event tables end where they have landed; without `mail`, so do `emails` and `email_state`.
    ///
    /// # Errors
    /// [`SqlError::Execution`] when DataFusion cannot be set up.
    pub fn new(
        tables: Arc<Tables>,
        log: Option<Arc<dyn Log>>,
        mail: Option<Arc<dyn FreshRows>>,
        options: SqlOptions,
    ) -> Result<Self, SqlError> {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(options.memory_bytes, 1.0).build_arc();
        let runtime = runtime.map_err(|error| SqlError::Execution(error.to_string()))?;
        register_store(&runtime, tables.files()).map_err(execution)?;
        let sources = Sources { tables, log, mail, limit_bytes: options.memory_bytes / 2 };
        Ok(Self { sources, runtime, options })
    }

    /// Runs one statement and gives its rows. All uses of a table in it see the same rows.
    ///
    /// # Errors
    /// Each of [`SqlError`]; the text is for the person who asked.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        Ok(self.query_with_schema(sql).await?.1)
    }

    /// As [`SqlEngine::query`], with the schema, which an empty result has too.
    pub async fn query_with_schema(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), SqlError> {
        let run = async {
            let mut stream = self.stream(sql).await?;
            let schema = stream.schema();
            let (mut batches, mut size_bytes) = (Vec::new(), 0);
            while let Some(batch) = stream.try_next().await.map_err(execution)? {
                size_bytes += batch.get_array_memory_size();
                if size_bytes > self.options.result_bytes {
                    return Err(SqlError::TooLarge(self.options.result_bytes));
                }
                batches.push(batch);
            }
            Ok((schema, batches))
        };
        let timeout = self.options.timeout;
        Box::pin(tokio::time::timeout(timeout, run)).await.map_err(|_| SqlError::Timeout(timeout))?
    }

    /// The rows as they come; the caller bounds time and size.
    async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        let context = self.context(&[]).await?;
        self.stream_in(&context, sql).await
    }

    async fn stream_in(&self, context: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        let plan = context.state().create_logical_plan(sql).await.map_err(statement)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|error| SqlError::ReadOnly(error.strip_backtrace()))?;
        let frame = context.execute_logical_plan(plan).await.map_err(statement)?;
        Box::pin(frame.execute_stream()).await.map_err(execution)
    }

    /// A session whose statements all see the same rows; those of the `pinned` tables are taken now, in this order.
    pub(super) async fn session(&self, pinned: &[Table]) -> Result<SqlSession<'_>, SqlError> {
        Ok(SqlSession { engine: self, context: self.context(pinned).await? })
    }

    /// A context of its own, so that no query sees another's.
    async fn context(&self, pinned: &[Table]) -> Result<SessionContext, SqlError> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(self.options.parallelism)
            .with_default_catalog_and_schema("millrace", "mail");
        let mut context = SessionContext::new_with_config_rt(config, self.runtime.clone());
        datafusion_functions_json::register_all(&mut context).map_err(execution)?;
        let mut providers = Vec::new();
        for table in Table::ALL {
            let provider = Arc::new(WholeTable::new(table, self.sources.clone()));
            providers.push(provider.clone());
            context.register_table(table.name(), provider).map_err(execution)?;
        }
        for table in pinned {
            providers[*table as usize].pin().await.map_err(execution)?;
        }
        for view in VIEWS.split(';').map(str::trim).filter(|view| !view.is_empty()) {
            Box::pin(context.sql(view)).await.map_err(execution)?;
        }
        Ok(context)
    }
}

/// Several statements over the same rows.
pub(super) struct SqlSession<'a> {
    engine: &'a SqlEngine,
    context: SessionContext,
}

impl SqlSession<'_> {
    /// All rows of a statement, without the limits of size and time.
    pub(super) async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        self.stream(sql).await?.try_collect().await.map_err(execution)
    }

    pub(super) async fn stream(&self, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        self.engine.stream_in(&self.context, sql).await
    }
}

fn statement(error: DataFusionError) -> SqlError {
    match error.find_root() {
        DataFusionError::External(_) | DataFusionError::ResourcesExhausted(_) => execution(error),
        _ => SqlError::Statement(error.strip_backtrace()),
    }
}

pub(super) fn execution(error: DataFusionError) -> SqlError {
    SqlError::Execution(error.strip_backtrace())
}
