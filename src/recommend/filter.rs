//! Filters by name, resolved to what the index knows.

use super::RecommendError;
use crate::{
    catalog::Catalog,
    index::{Field, Filter},
    track::TrackId,
};

/// The filters of a request; values are names or ids as the catalogue knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRequest {
    /// Only tracks of one of these genres, or of a genre below one of them.
    pub genres: Vec<String>,
    /// No track of these genres or of a genre below.
    pub exclude_genres: Vec<String>,
    /// No track of these artists.
    pub exclude_artists: Vec<String>,
    /// Only tracks under one of these licences.
    pub licences: Vec<String>,
    /// None of these tracks.
    pub exclude_ids: Vec<TrackId>,
}

impl FilterRequest {
    /// The filter that leaves these tracks out.
    pub(super) fn without(ids: &[TrackId]) -> Filter {
        let ids = ids.iter().map(|id| i64::from(id.0)).collect();
        Filter::Not(Box::new(Filter::In(Field::Track, ids)))
    }

    /// Looks the names up.
    ///
    /// # Errors
    ///
    /// [`RecommendError::UnknownFilterValue`] with the first that the catalogue does not have.
    pub(super) async fn resolve(&self, catalog: &Catalog) -> Result<Filter, RecommendError> {
        let mut parts = Vec::new();
        if !self.genres.is_empty() {
            parts.push(Filter::In(
                Field::Genre,
                genres(catalog, "genre", &self.genres).await?,
            ));
        }
        if !self.exclude_genres.is_empty() {
            let ids = genres(catalog, "exclude_genre", &self.exclude_genres).await?;
            parts.push(Filter::Not(Box::new(Filter::In(Field::Genre, ids))));
        }
        if !self.exclude_artists.is_empty() {
            let mut ids = Vec::new();
            for value in &self.exclude_artists {
                let found = catalog.resolve_artists(value).await?;
                ids.extend(known(
                    found.iter().map(|artist| artist.id).collect(),
                    "exclude_artist",
                    "artist",
                    value,
                )?);
            }
            parts.push(Filter::Not(Box::new(Filter::In(Field::Artist, ids))));
        }
        if !self.licences.is_empty() {
            let mut ids = Vec::new();
            for value in &self.licences {
                let found = catalog.resolve_licence(value).await?;
                ids.extend(known(
                    found.iter().map(|licence| licence.row).collect(),
                    "licence",
                    "licence",
                    value,
                )?);
            }
            parts.push(Filter::In(Field::Licence, ids));
        }
        if !self.exclude_ids.is_empty() {
            parts.push(Self::without(&self.exclude_ids));
        }
        Ok(if parts.is_empty() {
            Filter::All
        } else {
            Filter::And(parts)
        })
    }
}

async fn genres(
    catalog: &Catalog,
    parameter: &'static str,
    values: &[String],
) -> Result<Vec<i64>, RecommendError> {
    let mut ids = Vec::new();
    for value in values {
        let found = catalog.resolve_genre(value).await?;
        ids.extend(known(
            found.iter().map(|genre| genre.id).collect(),
            parameter,
            "genre",
            value,
        )?);
    }
    Ok(ids)
}

fn known(
    found: Vec<i64>,
    parameter: &'static str,
    kind: &'static str,
    value: &str,
) -> Result<Vec<i64>, RecommendError> {
    if found.is_empty() {
        return Err(RecommendError::UnknownFilterValue {
            parameter,
            kind,
            value: value.to_owned(),
        });
    }
    Ok(found)
}
