//! From the backlog to the tables: first `emails`, then `email_state`, each from its own positions on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LandError;
use super::backlog::{Backlog, Load};
use crate::mail::rows::{Row, emails_batch, state_batch};
use crate::tables::{Positions, Table, TableError, Tables};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Landing {
    pub(super) tables: Arc<Tables>,
    pub(super) backlog: Arc<Backlog>,
    /// Where the tables stand, for the task that owns the consumer and lets the hot store drop rows.
    pub(super) landed: watch::Sender<Positions>,
    /// Whether the catalog has told where the tables end since the partitions were taken over: else that comes first, since
    /// only what goes on from there is taken.
    pub(super) is_resumed: bool,
}

impl Landing {
    /// Lands until `stop`, then what is left; for as long as that takes. It may be dropped at any moment: what is not
    /// committed is landed again by whoever goes on where the tables end, and a commit that is still on its way finds that
    /// they have moved, or is found by the next one.
    ///
    /// # Errors
    /// [`LandError::Table`] with `Superseded` when another lander has the partitions; any other failure of the tables is
    /// tried again.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), LandError> {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.backlog.due() => {}
            }
            if let Some(load) = self.backlog.take() {
                self.land_patiently(load, &stop).await?;
            }
        }
        match self.backlog.take() {
            Some(load) => self.land_patiently(load, &stop).await,
            None => Ok(()),
        }
    }

    async fn land_patiently(&mut self, mut load: Load, stop: &CancellationToken) -> Result<(), LandError> {
        let mut pause = FIRST_PAUSE;
        let mut is_stopping = false;
        let rows = load.rows.len();
        loop {
            let begun = Instant::now();
            let error = match self.land(&mut load).await {
                Ok(()) => {
                    tracing::debug!(rows, elapsed_ms = begun.elapsed().as_millis(), "landed");
                    metrics::histogram!("millrace_lander_landing_seconds").record(begun.elapsed());
                    self.backlog.landed(rows, &load);
                    return Ok(());
                }
                Err(error @ LandError::Table(TableError::Superseded { .. } | TableError::Backwards { .. })) => {
                    return Err(error);
                }
                Err(error) => error,
            };
            tracing::warn!(%error, rows, pause_ms = pause.as_millis(), "landing failed and is tried again");
            metrics::counter!("millrace_lander_failures_total", "kind" => error.kind()).increment(1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled(), if !is_stopping => is_stopping = true,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One round over both tables. What an earlier round or an earlier process has landed is left out, table by table.
    async fn land(&mut self, load: &mut Load) -> Result<(), LandError> {
        if !self.is_resumed {
            self.tables.resume(Table::Emails).await?;
            self.tables.resume(Table::EmailState).await?;
            self.is_resumed = true;
        }
        let rows = Arc::new(std::mem::take(&mut load.rows));
        let result = self.land_both(&rows, &load.ends).await;
        load.rows = Arc::try_unwrap(rows).unwrap_or_else(|shared| shared.as_ref().clone());
        result?;
        self.landed.send_modify(|landed| landed.extend(&load.ends));
        Ok(())
    }

    async fn land_both(&self, rows: &Arc<Vec<(u32, Row)>>, ends: &Positions) -> Result<(), LandError> {
        self.land_table(Table::Emails, rows, ends).await?;
        self.land_table(Table::EmailState, rows, ends).await
    }

    /// Also without rows, so that `emails` never stands behind `email_state`.
    async fn land_table(&self, table: Table, rows: &Arc<Vec<(u32, Row)>>, ends: &Positions) -> Result<(), LandError> {
        let positions = self.tables.positions(table);
        let ends = ends.iter().filter(|(partition, end)| positions.get(partition).is_none_or(|at| at < end));
        let ends: Positions = ends.map(|(partition, end)| (*partition, *end)).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let rows = rows.clone();
        let batch = tokio::task::spawn_blocking(move || build(table, &rows, &positions)).await??;
        Ok(self.tables.append(table, vec![batch], ends).await?)
    }
}

fn build(table: Table, rows: &[(u32, Row)], from: &Positions) -> Result<RecordBatch, LandError> {
    let is_new = |partition: &u32, row: &Row| from.get(partition).is_none_or(|at| row.version.seq >= *at);
    let new = rows.iter().filter(|(partition, row)| is_new(partition, row)).map(|(_, row)| row);
    Ok(match table {
        Table::Emails => emails_batch(new)?,
        _ => state_batch(new)?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use millrace_schemas::Topic;

    use super::*;
    use crate::mail::lander::applier::Applier;
    use crate::mail::testing::{World, delivery, patch};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crash_between_the_two_commits_doubles_nothing() {
        let mut world = World::open().await;
        world
            .append(vec![delivery("a", "1"), delivery("a", "2"), patch("a", "1", r#"{"keywords":{"$seen":true}}"#)])
            .await;
        let backlog = Arc::new(Backlog::new(World::slow()));
        let mut applier = Applier::new(world.log.clone(), world.hot.clone(), world.tables.clone(), backlog.clone());
        for partition in 0..world.log.partitions(Topic::MailboxChanges) {
            world.hot.reset(partition, 0, 0).await.unwrap();
            let records = world.log.read(Topic::MailboxChanges, partition, 0, 100, 1 << 20).await.unwrap();
            applier.process(partition, &records).await.unwrap();
        }
        let load = backlog.take().unwrap();
        let (landed, _) = watch::channel(Positions::new());
        let landing = Landing { tables: world.tables.clone(), backlog, landed, is_resumed: true };
        landing.land_table(Table::Emails, &Arc::new(load.rows), &load.ends).await.unwrap();

        world.append(vec![delivery("a", "3")]).await;
        world.reopen().await;
        world.start(World::slow());
        assert_eq!(world.mailboxes.view("a").await.unwrap().len(), 3);
        world.stop().await;
        assert_eq!(world.stored_rows().await, (3, 5), "three emails; four versions and a tombstone");
    }
}
