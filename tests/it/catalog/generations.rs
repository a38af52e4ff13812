//! The one active generation.

use std::path::Path;

use songkin::catalog::{Catalog, CatalogError, GenerationState};

use super::House;

#[tokio::test]
async fn activation_is_a_compare_and_set() {
    let house = House::new().await;
    let catalog = &house.catalog;
    assert_eq!(catalog.active_generation().await.unwrap(), None);
    for id in ["g1", "g2"] {
        catalog
            .record_generation(id, Path::new(id), GenerationState::Ready)
            .await
            .unwrap();
    }
    assert!(!catalog.activate(Some("g2"), "g1").await.unwrap());
    assert!(catalog.activate(None, "g1").await.unwrap());
    assert!(!catalog.activate(None, "g2").await.unwrap());
    assert_eq!(catalog.active_generation().await.unwrap().unwrap().id, "g1");
    assert!(catalog.activate(Some("g1"), "g2").await.unwrap());
    // Back again.
    assert!(catalog.activate(Some("g2"), "g1").await.unwrap());
    let all = catalog.generations().await.unwrap();
    let active: Vec<_> = all.iter().map(|g| (g.id.as_str(), g.active)).collect();
    assert_eq!(active, [("g2", false), ("g1", true)]);
}

#[tokio::test]
async fn only_a_ready_generation_is_activated() {
    let house = House::new().await;
    let catalog = &house.catalog;
    catalog
        .record_generation("g1", Path::new("g1"), GenerationState::Building)
        .await
        .unwrap();
    for id in ["g1", "unknown"] {
        let error = catalog.activate(None, id).await.unwrap_err();
        assert!(
            matches!(error, CatalogError::GenerationNotReady(_)),
            "{error:?}"
        );
    }
    catalog
        .record_generation("g1", Path::new("moved/g1"), GenerationState::Ready)
        .await
        .unwrap();
    assert!(catalog.activate(None, "g1").await.unwrap());
    let active = catalog.active_generation().await.unwrap().unwrap();
    assert_eq!(
        (active.directory.as_path(), active.state),
        (Path::new("moved/g1"), GenerationState::Ready)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_wins() {
    let house = House::new().await;
    let mut attempts = Vec::new();
    for n in 0..8 {
        let id = format!("g{n}");
        let catalog = Catalog::open(house.database()).await.unwrap();
        catalog
            .record_generation(&id, Path::new("g"), GenerationState::Ready)
            .await
            .unwrap();
        attempts.push(tokio::spawn(async move {
            catalog.activate(None, &id).await.unwrap()
        }));
    }
    let mut won = 0;
    for attempt in attempts {
        won += u32::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
}
