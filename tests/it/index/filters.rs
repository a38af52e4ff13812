//! One meaning for a filter, whoever carries it out.

use proptest::{collection::vec, option, prelude::*};
use songkin::index::{EmbeddedIndex, IndexError};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::*;

/// Small values, so that most filters hit something.
pub(super) fn filter() -> impl Strategy<Value = Filter> {
    let field = proptest::sample::select(Field::ALL.to_vec());
    let value = -2i64..15;
    let leaf = prop_oneof![
        Just(Filter::All),
        (field.clone(), vec(value.clone(), 0..4))
            .prop_map(|(field, values)| Filter::In(field, values)),
        (field, option::of(value.clone()), option::of(value))
            .prop_map(|(field, min, max)| Filter::Range { field, min, max }),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Filter::And),
            vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

/// Items whose fields are few and small, with none, one or several values.
pub(super) fn tagged(id: u32, vector: Vec<f32>) -> Item {
    let rng = &mut ChaCha8Rng::seed_from_u64(u64::from(id));
    let fields = (0..rng.random_range(0..8))
        .map(|_| {
            (
                Field::ALL[rng.random_range(1..Field::ALL.len())],
                rng.random_range(0..12),
            )
        })
        .collect();
    Item {
        id: TrackId(id),
        vector,
        fields,
    }
}

#[test]
fn bitmap_sql_and_single_tracks_agree() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let items: Vec<Item> = (0..60).map(|id| tagged(id, random_unit(rng))).collect();
    let vector = random_unit(rng);
    let index = EmbeddedIndex::build(&items, DIMENSION, Settings::default()).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut database = runtime.block_on(database_of(&items));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let test = |filter: Filter, database: &mut SqliteConnection| {
        let one_by_one: Vec<u32> = items
            .iter()
            .filter(|item| filter.matches(item.id, &item.fields))
            .map(|item| item.id.0)
            .collect();
        let mut by_bitmap = ids(&index, &exact(&vector, 1000, &filter));
        by_bitmap.sort_unstable();
        prop_assert_eq!(&by_bitmap, &one_by_one);
        let by_sql = runtime.block_on(select(database, &filter));
        prop_assert_eq!(&by_sql, &one_by_one);
        let json = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
        Ok(())
    };
    let database = std::cell::RefCell::new(&mut database);
    runner
        .run(&filter(), |filter| test(filter, *database.borrow_mut()))
        .unwrap();
}

async fn database_of(items: &[Item]) -> SqliteConnection {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for table in [
        "CREATE TABLE items (id INTEGER PRIMARY KEY)",
        "CREATE TABLE item_fields (item INTEGER, field INTEGER, value INTEGER)",
    ] {
        sqlx::query(table).execute(&mut database).await.unwrap();
    }
    for item in items {
        sqlx::query("INSERT INTO items VALUES ($1)")
            .bind(item.id.0)
            .execute(&mut database)
            .await
            .unwrap();
        for (field, value) in &item.fields {
            sqlx::query("INSERT INTO item_fields VALUES ($1, $2, $3)")
                .bind(item.id.0)
                .bind(field.tag())
                .bind(value)
                .execute(&mut database)
                .await
                .unwrap();
        }
    }
    database
}

async fn select(database: &mut SqliteConnection, filter: &Filter) -> Vec<u32> {
    let sql = filter.to_sql().unwrap();
    let text = format!("SELECT id FROM items WHERE {} ORDER BY id", sql.condition);
    let mut query = sqlx::query_scalar(AssertSqlSafe(text));
    for value in sql.values {
        query = query.bind(value);
    }
    query.fetch_all(database).await.unwrap()
}

#[test]
fn sql_keeps_values_out_of_the_text() {
    let filter = Filter::And(vec![
        Filter::In(Field::Genre, vec![12, 15]),
        Filter::Not(Box::new(Filter::In(Field::Track, vec![7]))),
    ]);
    let sql = filter.to_sql().unwrap();
    assert_eq!(
        sql.condition,
        "(EXISTS (SELECT 1 FROM item_fields AS f WHERE f.item = items.id AND f.field = $1 \
         AND f.value IN ($2, $3)) AND NOT ((items.id IN ($4))))"
    );
    assert_eq!(sql.values, [i64::from(Field::Genre.tag()), 12, 15, 7]);
}

#[test]
fn sql_refuses_what_no_statement_takes() {
    let many = Filter::In(Field::Track, vec![0; Filter::MAX_SQL_VALUES + 1]);
    assert!(matches!(
        many.to_sql(),
        Err(IndexError::TooManyValues { found: 32_767, .. })
    ));
    let just_right = Filter::In(Field::Track, vec![0; Filter::MAX_SQL_VALUES]);
    assert_eq!(
        just_right.to_sql().unwrap().values.len(),
        Filter::MAX_SQL_VALUES
    );
}

#[test]
fn tags_are_written_in_stone() {
    let tags: Vec<u8> = Field::ALL.iter().map(|field| field.tag()).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4, 5, 6]);
    assert!(
        Field::ALL
            .iter()
            .all(|&field| Field::from_tag(field.tag()) == Some(field))
    );
    assert_eq!(Field::from_tag(7), None);
}
