//! The SQLite file: changed on a copy first, and never used when it is damaged.

use std::{fs, path::Path};

use songkin::database::{Database, DatabaseError};
use sqlx::{
    Connection, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// A database as the program of schema version 1 left it, with an artist in it.
async fn first_version(path: &Path) -> SqliteConnection {
    let migrations = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let first = "0001_catalogue.sql";
    fs::copy(source.join(first), migrations.path().join(first)).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let migrator = Migrator::new(migrations.path().to_path_buf())
        .await
        .unwrap();
    migrator.run(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO artists (id, name, key) VALUES (7, 'Xylander', 'xylander')")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

async fn artists_and_version(path: &Path) -> (i64, i64) {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let artists = sqlx::query_scalar("SELECT COUNT(*) FROM artists")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let version = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    (artists, version)
}

/// Files beside the database, its log aside.
fn beside(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("catalog.sqlite"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_kept_as_it_was_before_its_schema_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    // Its log is not folded in yet: what is kept has to have that, too.
    let former = first_version(&path).await;
    let database = Database::open(&path).await.unwrap();
    let (artists, newest) = artists_and_version(&path).await;
    assert_eq!(artists, 1);
    assert!(newest > 1);
    let kept = beside(dir.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(
        kept[0].starts_with("catalog.schema-1.") && kept[0].ends_with(".sqlite"),
        "{kept:?}"
    );
    let kept = dir.path().join(&kept[0]);
    assert_eq!(artists_and_version(&kept).await, (1, 1));
    drop(former);
    database.close().await;

    // Nothing has to be changed any more, so nothing is kept.
    Database::open(&path).await.unwrap().close().await;
    assert_eq!(beside(dir.path()).len(), 1);
    // The way back: the older file in place of the newer one.
    fs::remove_file(&path).unwrap();
    fs::copy(&kept, &path).unwrap();
    assert_eq!(artists_and_version(&path).await, (1, 1));
}

#[tokio::test]
async fn changes_of_an_older_file_are_logged_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    // A program of the older version goes on beside the newer one.
    let mut former = first_version(&path).await;
    let database = Database::open(&path).await.unwrap();
    for (name, logged) in [("Xylander", 1), ("Xylandra", 2)] {
        sqlx::query("UPDATE artists SET name = ?")
            .bind(name)
            .execute(&mut former)
            .await
            .unwrap();
        let revision: i64 = sqlx::query_scalar("SELECT MAX(revision) FROM catalogue_changes")
            .fetch_one(database.reader())
            .await
            .unwrap();
        assert_eq!(revision, logged, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_open_an_older_file_one_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    first_version(&path).await.close().await.unwrap();
    let opening: Vec<_> = (0..6)
        .map(|_| tokio::spawn(Database::open(path.clone())))
        .collect();
    for database in opening {
        database.await.unwrap().unwrap();
    }
    assert_eq!(artists_and_version(&path).await.0, 1);
    let kept = beside(dir.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[tokio::test]
async fn a_change_that_fails_on_the_copy_leaves_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let mut former = first_version(&path).await;
    sqlx::query("CREATE TABLE jobs (mine TEXT)")
        .execute(&mut former)
        .await
        .unwrap();
    let error = Database::open(&path).await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::Rehearsal { found: 1, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(artists_and_version(&path).await, (1, 1));
    let beside = beside(dir.path());
    assert!(
        !beside.iter().any(|name| name.contains("trial")),
        "{beside:?}"
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    Database::open(&path).await.unwrap().close().await;
    let whole = fs::read(&path).unwrap();
    // A page in the middle, the header, and the end.
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xa5);
        },
        |bytes| bytes[..16].fill(b'x'),
        |bytes| bytes.truncate(bytes.len() / 2),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = Database::open(&path).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::Damaged { .. }),
            "{number}: {error:?}"
        );
        assert!(
            error.to_string().contains("songkin-server restore"),
            "{error}"
        );
    }
    fs::write(&path, &whole).unwrap();
    Database::open(&path).await.unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_copy_is_whole_and_a_file_in_use_is_not_folded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let database = Database::open(&path).await.unwrap();
    let mut tx = database.write().await.unwrap();
    sqlx::query("INSERT INTO artists (id, name, key) VALUES (7, 'Xylander', 'xylander')")
        .execute(&mut *tx)
        .await
        .unwrap();
    let copy = dir.path().join("copy.sqlite");
    database.snapshot(&copy).await.unwrap();
    assert_eq!(artists_and_version(&copy).await.0, 0, "not committed yet");
    tx.commit().await.unwrap();
    database.snapshot(&copy).await.unwrap();
    assert_eq!(artists_and_version(&copy).await.0, 1);

    let error = Database::fold(&path).await.unwrap_err();
    assert!(matches!(error, DatabaseError::InUse { .. }), "{error:?}");
    database.close().await;
    Database::fold(&path).await.unwrap();
    assert_eq!(beside(dir.path()), ["copy.sqlite"]);
}
