//! Readers that see what other processes commit.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Table, TableError, Tables};
use crate::backoff::Backoff;

const INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Tables {
    /// Asks the catalog for newer snapshots of all tables, once a second, until `shutdown`. While it does not answer,
    /// snapshots are those that are known.
    pub async fn follow(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(INTERVAL, LONGEST_PAUSE);
        loop {
            let pause = match self.look().await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    let pause = backoff.pause();
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "newer snapshots cannot be looked for now");
                    metrics::counter!("millrace_tables_follow_failures_total", "kind" => error.kind()).increment(1);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Takes in what changed, `emails` before `email_state`: no state is shown of an email that is not there yet.
    async fn look(&self) -> Result<(), TableError> {
        let known = Table::ALL.map(|table| (table, self.slot(table).state().metadata_location.clone()));
        for (table, current) in self.backend.catalog.changed(&known).await? {
            let slot = self.slot(table);
            let state = slot.state();
            if state.metadata_location != current.location {
                slot.advance(self.backend.load(table, current, Some(&state)).await?);
            }
        }
        Ok(())
    }
}
