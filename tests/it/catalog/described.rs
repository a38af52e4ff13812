//! Descriptions in memory, and the log that they follow.

use std::{sync::Arc, time::Duration};

use songkin::{
    catalog::{DescriptionStats, Descriptions, ExtractorId, Placement, Recorded, Subject},
    track::TrackId,
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{House, analysis, extractor, fixture, local};

/// Another program with the same file, one that does not even keep references whole.
struct Other {
    connection: SqliteConnection,
    /// The last revision of the log that it has seen.
    seen: i64,
}

impl Other {
    async fn new(house: &House) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(house.database())
            .foreign_keys(false);
        let connection = SqliteConnection::connect_with(&options).await.unwrap();
        let mut other = Self {
            connection,
            seen: 0,
        };
        other.logged().await;
        other
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }

    /// What is new in the log.
    async fn logged(&mut self) -> Vec<Option<u32>> {
        let rows: Vec<(i64, Option<u32>)> = sqlx::query_as(
            "SELECT revision, track_id FROM catalogue_changes WHERE revision > ? ORDER BY revision",
        )
        .bind(self.seen)
        .fetch_all(&mut self.connection)
        .await
        .unwrap();
        self.seen = rows.last().map_or(self.seen, |(revision, _)| *revision);
        rows.into_iter().map(|(_, track)| track).collect()
    }

    /// What is new in the log after a statement.
    async fn logs(&mut self, sql: &'static str) -> Vec<Option<u32>> {
        self.run(sql).await;
        self.logged().await
    }
}

#[tokio::test]
async fn the_log_is_silent_while_nothing_changes() {
    let house = House::new().await;
    let mut other = Other::new(&house).await;
    let import = || async {
        let metadata = fixture();
        let stored = house.catalog.upsert_metadata(&metadata, |_| {});
        stored.await.unwrap();
    };
    import().await;
    let file = house.write("000/000002.mp3", "food");
    let food = house.record(&file, &Subject::Fma(TrackId(2))).await;
    let own = house.add("a/own.mp3", "own").await;
    assert_eq!(other.logged().await, [], "all of it is new");

    import().await;
    assert_eq!(other.logged().await, [], "imported once more");
    let again = ExtractorId::new("sha256:extractor-two");
    for (path, subject, id) in [
        ("000/000002.mp3", Subject::Fma(food), food),
        ("a/own.mp3", local("a/own.mp3"), own),
    ] {
        let (file, analysis) = (house.file(path), analysis(2.0));
        let recorded = house
            .catalog
            .record_analysed(&file, &subject, &again, &analysis);
        assert_eq!(recorded.await.unwrap(), Recorded::Track(id));
    }
    assert_eq!(other.logged().await, [], "analysed once more");
    let moved = house.rename("a/own.mp3", "moved.mp3");
    let placed = house.catalog.place(&moved, None, &extractor()).await;
    assert_eq!(placed.unwrap(), Placement::Done(own));
    let path = house.catalog.audio_path(own).await.unwrap().unwrap();
    assert_eq!(path, house.root().join("moved.mp3"));
    assert_eq!(other.logged().await, [], "moved");
    for sql in [
        "UPDATE tracks SET title = title, year = year, key = 'x', bit_rate = 1",
        "UPDATE tracks SET title = title || '!' WHERE id NOT IN (SELECT track_id FROM files)",
        "UPDATE artists SET name = name, key = 'x'",
        "UPDATE albums SET title = title, artist_id = NULL",
        "UPDATE genres SET title = title, parent_id = NULL",
        "UPDATE licences SET spdx = spdx, url = url",
        "UPDATE files SET size = size + 1, missing_since = NULL",
        "INSERT INTO artists (id, name, key) VALUES (4711, 'New', 'new')",
    ] {
        assert_eq!(other.logs(sql).await, [], "{sql}");
    }
}

#[tokio::test]
async fn the_log_tells_what_has_changed() {
    let house = House::with_fma().await;
    let file = house.write("000/000002.mp3", "food");
    house.record(&file, &Subject::Fma(TrackId(2))).await;
    let mut other = Other::new(&house).await;
    for sql in [
        "UPDATE tracks SET title = 'Fodder' WHERE id = 2",
        "UPDATE tracks SET title = 'FODDER' WHERE id = 2",
        "UPDATE tracks SET year = NULL, released_on = '1999-12-31' WHERE id = 2",
        "UPDATE tracks SET duration_seconds = duration_seconds + 0.5 WHERE id = 2",
        "UPDATE tracks SET artist_id = NULL WHERE id = 2",
        "UPDATE files SET missing_since = 1 WHERE track_id = 2",
        "UPDATE files SET missing_since = NULL WHERE track_id = 2",
        "DELETE FROM track_genres WHERE track_id = 2 AND position = 0",
        "INSERT OR REPLACE INTO track_genres VALUES (2, 103, 0)",
        "DELETE FROM files WHERE track_id = 2",
        "DELETE FROM tracks WHERE id = 2",
    ] {
        assert_eq!(other.logs(sql).await, [Some(2)], "{sql}");
    }
    let moved = other
        .logs("UPDATE track_genres SET track_id = 5 WHERE track_id = 10 AND position = 0")
        .await;
    assert_eq!(moved, [Some(10), Some(5)]);
    for sql in [
        "UPDATE artists SET name = 'AWOL' || name WHERE id = (SELECT min(id) FROM artists)",
        "UPDATE albums SET title = 'Other' WHERE id = (SELECT min(id) FROM albums)",
        "UPDATE genres SET title = 'Other' WHERE id = (SELECT min(id) FROM genres)",
        "UPDATE licences SET spdx = lower(spdx) WHERE id = (SELECT min(id) FROM licences)",
        "UPDATE licences SET url = NULL WHERE id = (SELECT min(id) FROM licences)",
        "DELETE FROM artists WHERE id = (SELECT min(id) FROM artists)",
        "DELETE FROM albums WHERE id = (SELECT min(id) FROM albums)",
        "DELETE FROM genres WHERE id = (SELECT min(id) FROM genres)",
        "DELETE FROM licences WHERE id = (SELECT min(id) FROM licences)",
    ] {
        assert_eq!(other.logs(sql).await, [None], "{sql}");
    }
}

#[tokio::test]
async fn the_log_is_bounded() {
    let house = House::new().await;
    house.add("one.mp3", "one").await;
    let mut other = Other::new(&house).await;
    other.run(many_changes(25_000)).await;
    let (first, last, rows): (i64, i64, i64) =
        sqlx::query_as("SELECT min(revision), max(revision), count(*) FROM catalogue_changes")
            .fetch_one(&mut other.connection)
            .await
            .unwrap();
    assert_eq!((first, last), (15_001, 25_001));
    assert_eq!(rows, 10_001);
}

/// The first local track gets as many years, one after the other.
fn many_changes(count: u32) -> &'static str {
    let sql = format!(
        "CREATE TEMP TABLE years (year INTEGER);
         CREATE TEMP TRIGGER change AFTER INSERT ON years
         BEGIN UPDATE tracks SET year = NEW.year WHERE id = {first}; END;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO years SELECT i FROM n;",
        first = TrackId::FIRST_LOCAL
    );
    sql.leak()
}

/// Descriptions that follow their catalogue as in a server.
struct Following {
    descriptions: Arc<Descriptions>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    fn start(house: &House, max_bytes: u64) -> Self {
        let descriptions = Arc::new(Descriptions::new(house.catalog.clone(), max_bytes));
        let task = tokio::spawn({
            let descriptions = Arc::clone(&descriptions);
            async move { match descriptions.keep_fresh().await {} }
        });
        Self { descriptions, task }
    }

    /// Waits until so many are in memory.
    async fn until_held(&self, tracks: usize) -> DescriptionStats {
        for _ in 0..2_000 {
            let stats = self.descriptions.stats();
            if stats.tracks == tracks {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.descriptions.stats());
    }

    async fn years(&self, ids: &[TrackId]) -> Vec<Option<i32>> {
        let tracks = self.descriptions.tracks(ids).await.unwrap();
        ids.iter()
            .map(|id| tracks.get(id).and_then(|track| track.year))
            .collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn whoever_missed_a_part_of_the_log_forgets_everything() {
    let house = House::new().await;
    let one = house.add("one.mp3", "one").await;
    let two = house.add("two.mp3", "two").await;
    let following = Following::start(&house, 1 << 20);
    following.until_held(2).await;
    assert_eq!(following.years(&[one, two]).await, [None, None]);
    let mut other = Other::new(&house).await;
    // In one transaction; the log's row of the second track does not survive it.
    other.run("BEGIN").await;
    let sql = format!("UPDATE tracks SET year = 1970 WHERE id = {two}");
    other.run(sql.leak()).await;
    other.run(many_changes(12_000)).await;
    other.run("COMMIT").await;
    let kept = other.logged().await;
    assert!(!kept.contains(&Some(two.0)), "{}", kept.len());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let years = following.years(&[one, two]).await;
    assert_eq!(years, [Some(12_000), Some(1970)]);
    following.until_held(2).await;
}

#[tokio::test]
async fn all_tracks_with_a_file_are_read_ahead_and_none_without() {
    let house = House::with_fma().await;
    let mut ids = vec![house.add("own.mp3", "own").await];
    for id in [2, 3, 5] {
        let file = house.write(&format!("000/{id:06}.mp3"), &format!("track {id}"));
        ids.push(house.record(&file, &Subject::Fma(TrackId(id))).await);
    }
    // One whose file has vanished is described all the same.
    std::fs::remove_file(house.root().join("000/000005.mp3")).unwrap();
    let found = house.found(&["own.mp3", "000/000002.mp3", "000/000003.mp3"]);
    house
        .catalog
        .reconcile(house.library, &found)
        .await
        .unwrap();
    let following = Following::start(&house, 1 << 20);
    let before = following.until_held(4).await;
    assert_eq!((before.hits, before.misses), (0, 0));

    let fileless = TrackId(20);
    let asked = [&ids[..], &[fileless, TrackId(4_711)]].concat();
    for _ in 0..2 {
        let found = following.descriptions.tracks(&asked).await.unwrap();
        let mut expected = house.catalog.tracks_by_ids(&asked).await.unwrap().found;
        assert_eq!(found.len(), expected.len());
        expected.retain(|track| found[&track.id] != *track);
        assert_eq!(expected, []);
        assert!(!found[&TrackId(5)].available);
    }
    assert_eq!(following.descriptions.stats().tracks, 4);
}

#[tokio::test]
async fn what_is_off_holds_nothing() {
    let house = House::new().await;
    let one = house.add("one.mp3", "one").await;
    for following in [Following::start(&house, 0), Following::start(&house, 1)] {
        assert_eq!(following.years(&[one]).await, [None]);
        assert_eq!(following.years(&[one]).await, [None]);
        let stats = following.descriptions.stats();
        let expected = DescriptionStats {
            misses: 2,
            ..DescriptionStats::default()
        };
        assert_eq!(stats, expected);
    }
}
