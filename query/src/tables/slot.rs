//! What a process knows of one table.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Mutex as AsyncMutex;

use super::TableError;
use super::backend::Backend;
use super::positions::Positions;
use super::state::TableState;

pub(super) struct Slot {
    /// One commit at a time.
    pub(super) commit: AsyncMutex<()>,
    /// Where this process has landed to: what its next commit starts from. It does not follow what others land, since
    /// the rows at hand were made of what came after these positions.
    pub(super) landed: Mutex<Positions>,
    state: RwLock<Arc<TableState>>,
    /// When the last look into the catalog began.
    looked_at: AsyncMutex<Instant>,
}

impl Slot {
    pub(super) fn new(state: TableState) -> Self {
        let landed = Mutex::new(state.positions.clone());
        Self {
            commit: AsyncMutex::default(),
            landed,
            state: RwLock::new(Arc::new(state)),
            looked_at: AsyncMutex::new(Instant::now()),
        }
    }

    pub(super) fn state(&self) -> Arc<TableState> {
        self.state.read().clone()
    }

    /// Takes in a state, unless a newer one is known: looks and commits overtake each other.
    pub(super) fn advance(&self, next: TableState) {
        let mut state = self.state.write();
        if next.metadata.last_sequence_number() >= state.metadata.last_sequence_number() {
            *state = Arc::new(next);
        }
    }

    /// Looks for commits of others. Callers that wait for one look share the next.
    pub(super) async fn refresh(&self, backend: &Backend) -> Result<(), TableError> {
        let asked = Instant::now();
        let mut looked_at = self.looked_at.lock().await;
        if *looked_at > asked {
            return Ok(());
        }
        let begun = Instant::now();
        self.reload(backend).await?;
        *looked_at = begun;
        Ok(())
    }

    pub(super) async fn reload(&self, backend: &Backend) -> Result<(), TableError> {
        if let Some(newer) = backend.newer(&self.state()).await? {
            self.advance(newer);
        }
        Ok(())
    }
}
