//! The generations on disk and which of them answers.

use std::path::{Path, PathBuf};

use sqlx::FromRow;

use super::{Catalog, CatalogError, record::text_enum, store::now};

/// How far a generation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationState {
    /// Its directory is being written.
    Building,
    /// Complete; it may be activated.
    Ready,
    /// Its build or its verification failed.
    Failed,
    /// Out of use; its directory may be deleted.
    Retired,
}

text_enum!(GenerationState {
    Building = "building",
    Ready = "ready",
    Failed = "failed",
    Retired = "retired",
});

/// A generation as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its id, from its manifest.
    pub id: String,
    /// Where it lies.
    pub directory: PathBuf,
    /// How far it has come.
    pub state: GenerationState,
    /// When it was entered, Unix seconds.
    pub created_at: i64,
    /// Whether it is the one that answers.
    pub active: bool,
}

impl Catalog {
    /// Enters a generation, or brings its directory and state up to date.
    ///
    /// # Errors
    /// [`CatalogError::BadPath`] for a directory that is not UTF-8, [`CatalogError::Database`].
    pub async fn record_generation(
        &self,
        id: &str,
        directory: &Path,
        state: GenerationState,
    ) -> Result<(), CatalogError> {
        let directory = directory
            .to_str()
            .ok_or_else(|| CatalogError::BadPath(directory.to_string_lossy().into_owned()))?;
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO generations (id, directory, state, created_at) VALUES (?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET directory = excluded.directory, state = excluded.state",
        )
        .bind(id)
        .bind(directory)
        .bind(state.as_str())
        .bind(now())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a generation out of use, unless it is the one that answers. Returns whether it did; from
    /// then on it cannot be activated, and its directory may be removed.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn retire(&self, id: &str) -> Result<bool, CatalogError> {
        let mut tx = self.write().await?;
        let changed = sqlx::query(
            "UPDATE generations SET state = 'retired' WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM active_generation WHERE generation_id = ?1)",
        )
        .bind(id)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// Makes `new` the generation that answers if `expected_current` is the one that answers now
    /// (none: no generation does). Returns whether it did; of several that try at once one wins.
    ///
    /// # Errors
    /// [`CatalogError::GenerationNotReady`] where `new` is unknown or not ready,
    /// [`CatalogError::Database`].
    pub async fn activate(
        &self,
        expected_current: Option<&str>,
        new: &str,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.write().await?;
        let ready: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM generations WHERE id = ? AND state = 'ready')",
        )
        .bind(new)
        .fetch_one(&mut *tx)
        .await?;
        if !ready {
            return Err(CatalogError::GenerationNotReady(new.to_owned()));
        }
        let changed = sqlx::query(
            "UPDATE active_generation SET generation_id = ?, activated_at = ?
             WHERE slot = 1 AND generation_id IS ?",
        )
        .bind(new)
        .bind(now())
        .bind(expected_current)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(changed == 1)
    }

    /// The generation that answers.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn active_generation(&self) -> Result<Option<Generation>, CatalogError> {
        Ok(self
            .generations()
            .await?
            .into_iter()
            .find(|generation| generation.active))
    }

    /// All generations, newest first.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn generations(&self) -> Result<Vec<Generation>, CatalogError> {
        let rows: Vec<GenerationRow> = sqlx::query_as(
            "SELECT g.id, g.directory, g.state, g.created_at, a.slot IS NOT NULL AS active
             FROM generations g LEFT JOIN active_generation a ON a.generation_id = g.id
             ORDER BY g.created_at DESC, g.rowid DESC",
        )
        .fetch_all(self.reader())
        .await?;
        Ok(rows.into_iter().map(Generation::from).collect())
    }
}

#[derive(FromRow)]
struct GenerationRow {
    id: String,
    directory: String,
    state: String,
    created_at: i64,
    active: bool,
}

impl From<GenerationRow> for Generation {
    fn from(row: GenerationRow) -> Self {
        Self {
            id: row.id,
            directory: row.directory.into(),
            // The table's CHECK admits no other word.
            state: GenerationState::from_name(&row.state).unwrap_or(GenerationState::Failed),
            created_at: row.created_at,
            active: row.active,
        }
    }
}
