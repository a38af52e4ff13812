//! Finding tracks by the words of title, artist and album.

use sha2::{Digest, Sha256};

use super::{Catalog, CatalogError, Page, record::fold, tracks::described};
use crate::{text::hex, track::TrackId};

/// Words of a query that count; no title needs more, and the query parser's stack has an end.
const MAX_WORDS: usize = 16;

/// Tracks of a page, whatever was asked for.
const MAX_PAGE: usize = 1_000;

impl Catalog {
    /// Searches the available tracks for all words of `query`, the last of which may be half
    /// typed; an empty query lists them all. The first sixteen words count; a page holds 1 to
    /// 1,000 tracks whatever `limit` says.
    ///
    /// Tracks whose title is the query come first, then those whose title begins with it, then
    /// the rest; by id within each. The order of two tracks depends on nothing but them, so that
    /// pages neither repeat nor skip tracks while others are added.
    ///
    /// # Errors
    /// [`CatalogError::BadCursor`] for a cursor that is not from this query's last page,
    /// [`CatalogError::Database`].
    pub async fn search_tracks(
        &self,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, CatalogError> {
        let key = fold(query);
        let after = match cursor {
            Some(text) => Cursor::read(text, &key).ok_or(CatalogError::BadCursor)?,
            None => Cursor { class: -1, id: 0 },
        };
        let limit = limit.clamp(1, MAX_PAGE);
        // One more than asked for tells whether there is a next page.
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let mut rows = match match_expression(query) {
            Match::Words(words) => self.matching(&words, &key, after, wanted).await?,
            Match::All => self.all(after, wanted).await?,
            Match::Nothing => Vec::new(),
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.write(&key));

        let ids: Vec<_> = rows.iter().map(|row| TrackId(row.id)).collect();
        let mut by_id = described(self.reader(), &ids).await?;
        let tracks = ids.iter().filter_map(|id| by_id.remove(id)).collect();
        Ok(Page {
            tracks,
            next_cursor,
        })
    }

    async fn matching(
        &self,
        words: &str,
        key: &str,
        after: Cursor,
        wanted: i64,
    ) -> Result<Vec<Cursor>, CatalogError> {
        Ok(sqlx::query_as(
            "SELECT class, id FROM (
                 SELECT CASE WHEN t.key = ?2 THEN 0
                             WHEN substr(t.key, 1, length(?2)) = ?2 THEN 1
                             ELSE 2 END AS class, t.id
                 FROM track_search s
                 JOIN tracks t ON t.id = s.rowid
                 JOIN files f ON f.track_id = t.id
                 WHERE track_search MATCH ?1 AND f.missing_since IS NULL)
             WHERE (class, id) > (?3, ?4) ORDER BY class, id LIMIT ?5",
        )
        .bind(words)
        .bind(key)
        .bind(after.class)
        .bind(after.id)
        .bind(wanted)
        .fetch_all(self.reader())
        .await?)
    }

    async fn all(&self, after: Cursor, wanted: i64) -> Result<Vec<Cursor>, CatalogError> {
        Ok(sqlx::query_as(
            "SELECT 2 AS class, track_id AS id FROM files
             WHERE missing_since IS NULL AND track_id > ? ORDER BY track_id LIMIT ?",
        )
        .bind(after.id)
        .bind(wanted)
        .fetch_all(self.reader())
        .await?)
    }
}

enum Match {
    /// An FTS5 expression.
    Words(String),
    All,
    Nothing,
}

/// Quotes every word, so that none is read as FTS5 syntax: implicit AND between them, prefix
/// match on the last unless something follows it.
fn match_expression(query: &str) -> Match {
    if query.trim().is_empty() {
        return Match::All;
    }
    // A word without a letter or digit has no token to match; NUL would end the expression early.
    let words: Vec<String> = query
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .take(MAX_WORDS)
        .map(|word| format!("\"{}\"", word.replace('"', " ")))
        .collect();
    if words.is_empty() {
        return Match::Nothing;
    }
    Match::Words(format!("{} *", words.join(" ")))
}

/// The place after which the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
struct Cursor {
    /// How well the title fits: 0 is the query, 1 begins with it, 2 neither; -1 before all.
    class: i64,
    id: u32,
}

impl Cursor {
    /// Class, id, and a piece of the query's hash, which ties the cursor to its query.
    fn write(self, key: &str) -> String {
        format!("{}{:08x}{}", self.class, self.id, query_tag(key))
    }

    fn read(text: &str, key: &str) -> Option<Self> {
        let rest = text.strip_suffix(query_tag(key).as_str())?;
        let (class, id) = rest.split_at_checked(1)?;
        let canonical = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let class = matches!(class, "0" | "1" | "2").then(|| class.parse().ok())??;
        let id = canonical.then(|| u32::from_str_radix(id, 16).ok())??;
        Some(Self { class, id })
    }
}

fn query_tag(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes())[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_for_its_query() {
        let cursor = Cursor {
            class: 1,
            id: 155_320,
        };
        let text = cursor.write("love");
        assert_eq!(Cursor::read(&text, "love"), Some(cursor));
        assert_eq!(Cursor::read(&text, "hate"), None);
        for damaged in [
            "",
            "x",
            "1",
            &text[1..],
            &text.to_uppercase(),
            "é0000000",
            &format!("9{}", &text[1..]),
        ] {
            assert_eq!(Cursor::read(damaged, "love"), None, "{damaged}");
        }
    }
}
