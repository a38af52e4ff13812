//! Turning the names and ids of a request's filters into the catalogue's numbers.

use super::{Artist, Catalog, CatalogError, Genre, LicenceRow, licence, record::fold};

impl Catalog {
    /// The genre with this id or, whatever its case, this title; of several titled so the one
    /// with the lowest id.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn resolve_genre(&self, id_or_title: &str) -> Result<Option<Genre>, CatalogError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "SELECT id, title FROM genres WHERE id = ?1 OR key = ?2 ORDER BY id = ?1 DESC, id LIMIT 1",
        )
        .bind(id_or_title.trim().parse::<i64>().ok())
        .bind(fold(id_or_title))
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(|(id, title)| Genre { id, title }))
    }

    /// The artists with this id or, whatever its case, this name; several may share a name.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn resolve_artists(&self, id_or_name: &str) -> Result<Vec<Artist>, CatalogError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, name FROM artists WHERE id = ?1 OR key = ?2 ORDER BY id")
                .bind(id_or_name.trim().parse::<i64>().ok())
                .bind(fold(id_or_name))
                .fetch_all(self.reader())
                .await?;
        Ok(rows
            .into_iter()
            .map(|(id, name)| Artist { id, name })
            .collect())
    }

    /// The licence with this SPDX-like id, whatever its case, or written in any of the ways that
    /// [`licence::normalise`] knows.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn resolve_licence(&self, name: &str) -> Result<Option<LicenceRow>, CatalogError> {
        let name = name.trim();
        // An id as stored comes first; "LicenseRef-..." would not survive being normalised.
        let normal = licence::normalise(Some(name), None).map(|licence| licence.id);
        let row: Option<(i64, String, String, Option<String>)> = sqlx::query_as(
            "SELECT id, spdx, name, url FROM licences WHERE spdx IN (?1, ?2)
             ORDER BY spdx = ?1 COLLATE NOCASE DESC LIMIT 1",
        )
        .bind(name)
        .bind(normal)
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(licence_row))
    }

    /// All genres, by id.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn genres(&self) -> Result<Vec<Genre>, CatalogError> {
        let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, title FROM genres ORDER BY id")
            .fetch_all(self.reader())
            .await?;
        Ok(rows
            .into_iter()
            .map(|(id, title)| Genre { id, title })
            .collect())
    }

    /// All licences, by SPDX-like id.
    ///
    /// # Errors
    /// [`CatalogError::Database`].
    pub async fn licences(&self) -> Result<Vec<LicenceRow>, CatalogError> {
        let rows: Vec<(i64, String, String, Option<String>)> =
            sqlx::query_as("SELECT id, spdx, name, url FROM licences ORDER BY spdx")
                .fetch_all(self.reader())
                .await?;
        Ok(rows.into_iter().map(licence_row).collect())
    }
}

fn licence_row((row, id, name, url): (i64, String, String, Option<String>)) -> LicenceRow {
    LicenceRow { row, id, name, url }
}
