//! Generations and the way back.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use songkin::{catalog::GenerationState, generation::Manifest, text::hex};

use super::{
    super::{Answer, Server, copy_tree, house, run},
    Admin, GENERATIONS,
};

impl Admin {
    /// Puts a copy of the house's generation into this server's store, under the id that it has with
    /// another name of its model.
    pub(super) async fn add_generation(&self, model: &str) -> String {
        let house = &house().await.parts;
        let active = house.catalog.active_generation().await.unwrap().unwrap();
        let from = house.store.path(&active.id);
        let mut manifest = Manifest::read(&from).unwrap();
        manifest.model.name = model.to_owned();
        manifest.id = String::new();
        manifest.id = hash_id(&serde_json::to_vec(&manifest).unwrap());
        let dir = self.store.path(&manifest.id);
        copy_tree(&from, &dir);
        fs::write(
            dir.join("manifest.json"),
            serde_json::to_vec(&manifest).unwrap(),
        )
        .unwrap();
        self.enter(&manifest.id, GenerationState::Ready).await;
        manifest.id
    }

    pub(super) async fn enter(&self, id: &str, state: GenerationState) {
        let dir = self.store.path(id);
        self.catalog
            .record_generation(id, &dir, state)
            .await
            .unwrap();
    }

    pub(super) async fn activate(&self, id: &str, body: &Value) -> Answer {
        let path = format!("{GENERATIONS}/{id}/activate");
        self.post(&path, body.to_string()).await
    }

    async fn active(&self) -> Option<String> {
        let active = self.catalog.active_generation().await.unwrap();
        active.map(|active| active.id)
    }
}

fn hash_id(text: &[u8]) -> String {
    let hash = Sha256::digest(text);
    hex(&hash[..8])
}

async fn wait_until_serving(server: &Server, id: &str) {
    let started = Instant::now();
    loop {
        let ready = server.get("/readyz").await;
        if ready.status == 200 && ready.json()["generation"] == id {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{id} is not served"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_generation_is_activated_and_the_former_one_again() {
    run(async {
        let admin = Admin::start(|parts| parts.settings.server.reload_seconds = 1).await;
        let (a, b) = (
            admin.add_generation("a").await,
            admin.add_generation("b").await,
        );
        let first = admin.activate(&a, &json!({"expected": null})).await.json();
        assert_eq!(first, json!({"active": a, "former": null}));
        wait_until_serving(&admin.server, &a).await;
        let second = admin.activate(&b, &json!({"expected": a})).await.json();
        assert_eq!(second, json!({"active": b, "former": a}));
        wait_until_serving(&admin.server, &b).await;
        // Asked again, whatever was expected: it is active.
        let again = admin.activate(&b, &json!({"expected": a})).await.json();
        assert_eq!(again["active"], b);
        // The way back, with no body at all.
        let path = format!("{GENERATIONS}/{a}/activate");
        let back = admin.post(&path, "").await.json();
        assert_eq!(back, json!({"active": a, "former": b}));
        wait_until_serving(&admin.server, &a).await;
    });
}

#[test]
fn what_was_activated_meanwhile_stays_and_what_is_unfit_is_refused() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let (a, b) = (
            admin.add_generation("a").await,
            admin.add_generation("b").await,
        );
        admin.activate(&a, &json!({})).await.json();
        for expected in [json!(null), json!(b), json!("0123456789abcdef")] {
            let answer = admin.activate(&b, &json!({ "expected": expected })).await;
            let problem = answer.problem(409, "active-generation-changed");
            assert!(
                problem["detail"].as_str().unwrap().contains(&a),
                "{problem}"
            );
        }
        for body in [json!({"expected": 7}), json!({"expected": "../x"})] {
            assert_eq!(admin.activate(&b, &body).await.faults(), ["expected"]);
        }
        assert_eq!(
            admin.activate(&b, &json!({"force": true})).await.faults(),
            ["force"]
        );

        for state in [
            GenerationState::Building,
            GenerationState::Failed,
            GenerationState::Retired,
        ] {
            admin.enter(&b, state).await;
            let problem = admin
                .activate(&b, &json!({}))
                .await
                .problem(409, "generation-unfit");
            assert!(
                problem["detail"].as_str().unwrap().contains(state.as_str()),
                "{problem}"
            );
        }
        admin.enter(&b, GenerationState::Ready).await;
        let landmarks = admin.store.path(&b).join("landmarks.bin");
        let mut bytes = fs::read(&landmarks).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&landmarks, bytes).unwrap();
        let problem = admin
            .activate(&b, &json!({}))
            .await
            .problem(409, "generation-unfit");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("landmarks.bin"),
            "{problem}"
        );
        fs::remove_dir_all(admin.store.path(&b)).unwrap();
        admin
            .activate(&b, &json!({}))
            .await
            .problem(409, "generation-unfit");
        assert_eq!(admin.active().await, Some(a));

        let unknown = admin.activate("0123456789abcdef", &json!({})).await;
        unknown.problem(404, "no-such-generation");
        for id in ["..", "%2e%2e%2f0123456789", "0123456789ABCDEF", "x"] {
            let answer = admin.get(&format!("{GENERATIONS}/{id}/report")).await;
            assert!([400, 404].contains(&answer.status), "{}", answer.call);
        }
    });
}

#[test]
fn of_activations_at_once_one_wins() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let mut ids = Vec::new();
        for n in 0..4 {
            ids.push(admin.add_generation(&format!("model {n}")).await);
        }
        let body = json!({ "expected": null });
        let answers =
            futures_util::future::join_all(ids.iter().map(|id| admin.activate(id, &body))).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((won.len(), lost.len()), (1, 3));
        for answer in lost {
            answer.problem(409, "active-generation-changed");
        }
        assert_eq!(admin.active().await.unwrap(), won[0].json()["active"]);
    });
}

#[test]
fn generations_are_listed_with_their_main_figures() {
    run(async {
        let admin = Admin::start(|_| {}).await;
        let (a, b) = (
            admin.add_generation("a").await,
            admin.add_generation("b").await,
        );
        let gone = "00000000000000aa";
        admin.enter(gone, GenerationState::Retired).await;
        admin.activate(&a, &json!({})).await.json();
        let value = |name| json!({"representation": name, "estimate": {"value": 0.5, "low": 0.4, "high": 0.6, "by_album": null}});
        let figure = |task, measure| {
            json!({"task": task, "measure": measure, "queries": 9, "reason": null,
                "values": [value("a"), {"representation": "mfcc", "estimate": null}]})
        };
        let report = json!({"format": 1, "figures": [
            figure("same_album", "mean_average_precision"),
            figure("same_album", "ndcg_at_10"),
            figure("crop_to_track", "recall_at_1"),
        ]});
        let dir = admin.store.path(&a).join("report");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("report.json"), report.to_string()).unwrap();

        let listed = admin.get(GENERATIONS).await.json();
        let listed = listed["generations"].as_array().unwrap();
        let find = |id: &str| listed.iter().find(|known| known["id"] == id).unwrap();
        assert_eq!(listed.len(), 3);
        let first = find(&a);
        assert_eq!(
            (&first["active"], &first["state"]),
            (&json!(true), &json!("ready"))
        );
        assert_eq!(first["model"]["name"], "a");
        assert_eq!(first["tracks"], 36);
        let figures: Vec<_> = first["figures"].as_array().unwrap().iter().collect();
        let tasks: Vec<_> = figures.iter().map(|figure| &figure["task"]).collect();
        assert_eq!(tasks, ["same_album", "crop_to_track"]);
        assert_eq!(
            figures[0]["values"],
            json!([
                {"representation": "a", "estimate": {"value": 0.5, "low": 0.4, "high": 0.6}},
                {"representation": "mfcc", "estimate": null},
            ])
        );
        let second = find(&b);
        assert_eq!(
            (&second["active"], &second["figures"]),
            (&json!(false), &Value::Null)
        );
        let retired = find(gone);
        assert_eq!(
            (&retired["state"], &retired["model"]),
            (&json!("retired"), &Value::Null)
        );

        let answer = admin.get(&format!("{GENERATIONS}/{a}/report")).await;
        assert_eq!(answer.json(), report);
        for id in [&b, gone] {
            let answer = admin.get(&format!("{GENERATIONS}/{id}/report")).await;
            answer.problem(404, "no-report");
        }
    });
}
