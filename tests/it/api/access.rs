//! Every route with every kind of key. The table is made from the router's own list, so that no route
//! can be forgotten.

use std::time::Duration;

use reqwest::Method;
use songkin::{
    api::{Access, ROUTES, Route},
    clock::{Clock, Timestamp},
    keys::{KeyStore, NewKey, Quotas, Scope},
};

use super::{Answer, Server, concrete, contract::CONTRACT, key_for, new_key, run};

/// What callers bring.
const BRINGS: [&str; 10] = [
    "nothing",
    "an empty header",
    "no key",
    "another scheme",
    "a key that never was",
    "a key with another end",
    "an expired key",
    "a revoked key",
    "an under-scoped key",
    "the right key",
];

/// A server and a key of every kind for one scope.
struct Bunch {
    expired: String,
    revoked: String,
    under_scoped: String,
    right: String,
}

impl Bunch {
    async fn of(server: &Server, keys: &KeyStore, scope: Scope) -> Self {
        let right = new_key([scope], Quotas::default());
        let revoked = keys.create(&right).await.unwrap();
        keys.revoke(revoked.0.id).await.unwrap();
        let others = Scope::ALL
            .iter()
            .copied()
            .filter(|&other| other != scope && other != Scope::Admin);
        // Everything but what is needed: the most that does not reach.
        let under_scoped = keys
            .create(&new_key(others, Quotas::default()))
            .await
            .unwrap();
        let expired = expired_key(server, scope).await;
        Self {
            expired,
            revoked: revoked.1.expose().to_owned(),
            under_scoped: under_scoped.1.expose().to_owned(),
            // The last one: when this is known, all are.
            right: key_for(server, keys, &right).await,
        }
    }

    fn header(&self, brings: &str) -> Option<String> {
        let right = &self.right;
        let last = if right.ends_with('0') { '1' } else { '0' };
        Some(match brings {
            "nothing" => return None,
            "an empty header" => String::new(),
            "no key" => "Bearer Bearer".to_owned(),
            "another scheme" => format!("Basic {right}"),
            "a key that never was" => {
                format!("Bearer songkin_0123456789ab_{}", "5f".repeat(32))
            }
            "a key with another end" => format!("Bearer {}{last}", &right[..right.len() - 1]),
            "an expired key" => format!("Bearer {}", self.expired),
            "a revoked key" => format!("Bearer {}", self.revoked),
            "an under-scoped key" => format!("Bearer {}", self.under_scoped),
            "the right key" => format!("Bearer {right}"),
            other => panic!("{other}"),
        })
    }
}

/// A key that was made long ago to hold for a second.
async fn expired_key(server: &Server, scope: Scope) -> String {
    let path = server.home.path().join("catalog.sqlite");
    let database = songkin::database::Database::open(path).await.unwrap();
    let past = Clock::manual(Timestamp::from_unix_seconds(1_000_000));
    let new = NewKey {
        lifetime: Some(Duration::from_secs(1)),
        ..new_key([scope], Quotas::default())
    };
    let made = KeyStore::with_clock(database.clone(), past)
        .create(&new)
        .await
        .unwrap();
    database.close().await;
    made.1.expose().to_owned()
}

async fn call(server: &Server, route: &Route, authorization: Option<&str>) -> Answer {
    let method: Method = route.method.to_uppercase().parse().unwrap();
    let mut request = server.request(method, &concrete(route.path));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    server.send(request).await
}

#[test]
fn every_route_opens_to_the_right_key_and_to_no_other() {
    run(async {
        let (server, keys) = Server::guarded(|_| {}).await;
        let mut guarded = 0;
        for &scope in Scope::ALL {
            let bunch = Bunch::of(&server, &keys, scope).await;
            let routes = ROUTES.iter().filter(|r| r.access == Access::Needs(scope));
            for route in routes {
                guarded += 1;
                for brings in BRINGS {
                    let header = bunch.header(brings);
                    let answer = call(&server, route, header.as_deref()).await;
                    let what = format!("{} with {brings}: {}", answer.call, answer.status);
                    let challenge = answer.header("www-authenticate");
                    match brings {
                        "the right key" => {
                            assert!(![401, 403, 429].contains(&answer.status), "{what}");
                            assert!(answer.status < 500 || answer.status == 503, "{what}");
                        }
                        "an under-scoped key" => {
                            let problem = answer.problem(403, "scope-missing");
                            let detail = problem["detail"].as_str().unwrap();
                            assert!(detail.contains(&format!("`{scope}`")), "{detail}");
                            let said = format!("error=\"insufficient_scope\", scope=\"{scope}\"");
                            assert!(challenge.ends_with(&said), "{what}: {challenge}");
                        }
                        _ => {
                            let problem = answer.problem(401, "unauthorized");
                            let invalid = challenge.contains("invalid_token");
                            assert_eq!(invalid, brings != "nothing", "{what}: {challenge}");
                            let detail = problem["detail"].as_str().unwrap();
                            for word in ["expired", "revoked"] {
                                assert_eq!(detail.contains(word), brings.contains(word), "{what}");
                            }
                        }
                    }
                }
            }
        }
        let open = ROUTES.iter().filter(|r| r.access == Access::Open);
        for route in open {
            for header in [None, Some("Bearer nonsense")] {
                let answer = call(&server, route, header).await;
                assert!(![401, 403].contains(&answer.status), "{}", answer.call);
            }
        }
        assert!(guarded >= 22, "{guarded}");
    });
}

#[test]
fn what_is_open_and_what_needs_what_is_as_it_was_meant() {
    for route in ROUTES {
        let Route {
            method,
            path,
            access,
        } = route;
        let wanted = match path.strip_prefix("/v1/") {
            None => Access::Open,
            Some(rest) if rest.starts_with("admin/jobs") => Access::Needs(Scope::Ingest),
            Some(rest) if rest.starts_with("admin/") => Access::Needs(Scope::Admin),
            Some(rest) if *method == "post" || rest.ends_with("/similar") => {
                Access::Needs(Scope::Recommend)
            }
            Some(_) => Access::Needs(Scope::Read),
        };
        assert_eq!(*access, wanted, "{method} {path}");
    }
}

#[test]
fn the_document_names_the_scope_of_every_route() {
    for operation in CONTRACT.operations() {
        let route = ROUTES.iter().find(|route| {
            route.method == operation.method && route.path.replace("{*", "{") == operation.path
        });
        let wanted = match route.unwrap().access {
            Access::Open => serde_json::json!([]),
            Access::Needs(scope) => serde_json::json!([{ "key": [scope] }]),
        };
        assert_eq!(operation.value["security"], wanted, "{}", operation.path);
    }
}

#[test]
fn a_caller_that_still_sends_gets_to_read_why_nobody_listens() {
    run(async {
        let (server, _) = Server::guarded(|_| {}).await;
        let large = server.post("/v1/recommendations", vec![0; 20 << 20]).await;
        large.problem(401, "unauthorized");
        let large = server.post("/v1/admin/jobs", vec![0; 20 << 20]).await;
        large.problem(401, "unauthorized");
    });
}

/// An admin key opens everything: who makes keys can make one for anything.
#[test]
fn an_admin_key_opens_every_route() {
    run(async {
        let (server, keys) = Server::guarded(|_| {}).await;
        let key = key_for(&server, &keys, &new_key([Scope::Admin], Quotas::default())).await;
        for route in ROUTES {
            let answer = call(&server, route, Some(&format!("bearer  {key} "))).await;
            assert!(![401, 403].contains(&answer.status), "{}", answer.call);
        }
    });
}

/// Calls that make a server refuse every operation for want of a key, of a scope and of a quota.
pub(super) async fn every_refusal(note: &mut impl FnMut(Answer)) {
    let (server, keys) = Server::guarded(|_| {}).await;
    for &scope in Scope::ALL {
        let bunch = Bunch::of(&server, &keys, scope).await;
        let poor = Quotas {
            requests_per_minute: Some(1),
            ..Quotas::default()
        };
        // Taken for granted and not waited for: each try would count.
        let poor = keys.create(&new_key([scope], poor)).await.unwrap().1;
        key_for(&server, &keys, &new_key([scope], Quotas::default())).await;
        let poor = format!("Bearer {}", poor.expose());
        let spends = ROUTES.iter().find(|r| r.access == Access::Needs(scope));
        call(&server, spends.unwrap(), Some(&poor)).await;
        for route in ROUTES.iter().filter(|r| r.access == Access::Needs(scope)) {
            note(call(&server, route, None).await);
            let under_scoped = bunch.header("an under-scoped key");
            note(call(&server, route, under_scoped.as_deref()).await);
            note(call(&server, route, Some(&poor)).await);
        }
    }
}
