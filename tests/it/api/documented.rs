//! The document says all that the server does, and the server does all that the document says.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use songkin::{
    api::{Kind, ROUTES, openapi::DOCUMENT},
    index::{Engine, Plan, Reason},
};

use super::{
    Answer, REMOVED, SUNRISE, Server, access, admin,
    contract::{CONTRACT, Given},
    demo_clip, form, run, uploads,
};

#[test]
fn every_route_is_documented_and_every_documented_one_is_a_route() {
    let documented: BTreeSet<(String, String)> = CONTRACT
        .operations()
        .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
        .collect();
    let routed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.replace("{*", "{")))
        .collect();
    assert_eq!(routed, documented);
}

#[test]
fn every_kind_of_problem_is_documented_with_its_status() {
    let kinds: BTreeSet<&str> = Kind::ALL.into_iter().map(Kind::slug).collect();
    let listed = &CONTRACT.document["components"]["schemas"]["Problem"]["properties"]["type"];
    let listed: BTreeSet<&str> = listed["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap().rsplit(':').next().unwrap())
        .collect();
    assert_eq!(listed, kinds);

    let mut answered = BTreeSet::new();
    for (operation, status, slug) in CONTRACT.documented() {
        let Some(slug) = slug else { continue };
        let kind = Kind::ALL.into_iter().find(|kind| kind.slug() == slug);
        assert_eq!(kind.unwrap().status(), status, "{operation}: {slug}");
        answered.insert(slug);
    }
    // Of no operation: it is what a path answers that has none for the method.
    answered.insert(Kind::MethodNotAllowed.slug().to_owned());
    assert_eq!(answered, kinds.into_iter().map(str::to_owned).collect());
}

/// The small demo takes one way through the index; the document has to know the others as well.
#[test]
fn every_way_to_search_is_documented() {
    let reasons = [
        Reason::Requested,
        Reason::SmallCatalogue,
        Reason::FewAllowed,
        Reason::GraphTooDear,
        Reason::ManyAllowed,
        Reason::GraphFellShort,
    ];
    for reason in reasons {
        // A reason that is missing above is missing here, and then this does not compile.
        let engine = match reason {
            Reason::Requested
            | Reason::SmallCatalogue
            | Reason::FewAllowed
            | Reason::GraphTooDear
            | Reason::GraphFellShort => Engine::Exact,
            Reason::ManyAllowed => Engine::Graph,
        };
        let plan = Plan {
            engine,
            allowed: 1,
            reason,
        };
        let schema = &CONTRACT.document["components"]["schemas"]["Search"];
        CONTRACT.hold(schema, &serde_json::to_value(plan).unwrap(), "Search");
    }
}

#[test]
fn the_document_is_served() {
    run(async {
        let answer = Server::shared().await.get("/openapi.yaml").await;
        assert_eq!(answer.expect(200).text(), DOCUMENT);
    });
}

#[test]
fn every_object_is_closed_so_that_a_new_field_is_noticed() {
    fn walk(at: &str, schema: &Value, open: &mut Vec<String>) {
        if schema["type"] == "object" && schema["additionalProperties"] != false {
            open.push(at.to_owned());
        }
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                walk(&format!("{at}.{name}"), property, open);
            }
        }
        if schema["items"].is_object() {
            walk(&format!("{at}[]"), &schema["items"], open);
        }
    }
    let mut open = Vec::new();
    let schemas = CONTRACT.document["components"]["schemas"]
        .as_object()
        .unwrap();
    for (name, schema) in schemas {
        walk(name, schema, &mut open);
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn every_example_is_what_its_schema_says() {
    /// Checks the examples of everything that has a schema and examples beside or in it.
    fn walk(at: &str, value: &Value, checked: &mut usize) {
        let mut hold = |schema: &Value, example: &Value| {
            CONTRACT.hold(schema, example, at);
            *checked += 1;
        };
        if let Some(example) = value.get("example").filter(|_| value["schema"].is_object()) {
            hold(&value["schema"], example);
        }
        match value.get("examples") {
            Some(Value::Object(named)) if value["schema"].is_object() => {
                for example in named.values() {
                    hold(&value["schema"], &example["value"]);
                }
            }
            Some(Value::Array(examples)) => {
                let mut schema = value.clone();
                schema.as_object_mut().unwrap().remove("examples");
                examples.iter().for_each(|example| hold(&schema, example));
            }
            _ => {}
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    walk(&format!("{at}/{name}"), member, checked);
                }
            }
            Value::Array(members) => {
                for (number, member) in members.iter().enumerate() {
                    walk(&format!("{at}/{number}"), member, checked);
                }
            }
            _ => {}
        }
    }
    let mut checked = 0;
    walk("", &CONTRACT.document, &mut checked);
    assert!(checked >= 20, "{checked} examples are too few");
}

/// Calls of every kind that make the servers give every answer that is documented.
#[test]
fn every_documented_answer_is_given() {
    run(async {
        let mut given = BTreeSet::new();
        let mut note = |answer: Answer| {
            given.extend(answer.given);
        };
        on_a_server_that_is_well(&mut note).await;
        access::every_refusal(&mut note).await;
        on_servers_in_trouble(&mut note).await;
        admin::every_answer(&mut note).await;
        let mut missing: Vec<Given> = CONTRACT.documented().difference(&given).cloned().collect();
        // What is this quick is often over before the shortest timer fires, so its 408 cannot be forced.
        let quick = [
            "listTracks",
            "showTrack",
            "similarTracks",
            "trackAudio",
            "info",
            "createJob",
            "listJobs",
            "showJob",
            "followJob",
            "cancelJob",
            "jobReport",
            "listGenerations",
            "generationReport",
            "activateGeneration",
            "createKey",
            "listKeys",
            "showKey",
            "rotateKey",
            "revokeKey",
            "listActions",
        ];
        missing.retain(|(operation, status, _)| {
            !(*status == 408 && quick.contains(&operation.as_str()))
        });
        // Told before there is a request, whatever it would have been: the tests of connections have it.
        missing.retain(|(_, status, _)| *status != 431);
        assert_eq!(missing, Vec::new(), "documented, but not given");
    });
}

/// Both operations that take a clip.
const UPLOADS: [&str; 2] = ["/v1/recommendations", "/v1/embeddings"];
/// Every operation with the scopes `read` and `recommend` that takes none.
const READS: [&str; 5] = [
    "/v1/tracks",
    "/v1/tracks/22006",
    "/v1/tracks/22006/similar",
    "/v1/tracks/22006/audio",
    "/v1/info",
];

async fn on_a_server_that_is_well(note: &mut impl FnMut(Answer)) {
    let server = Server::shared().await;
    for path in READS.into_iter().chain([
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.yaml",
        "/docs",
        "/docs/",
        "/docs/swagger-ui.css",
        "/docs/nothing.css",
        "/v1/tracks?limit=0",
        "/v1/tracks/none",
        "/v1/tracks/none/similar",
        "/v1/tracks/none/audio",
        "/v1/tracks/4711",
        "/v1/tracks/4711/similar",
        "/v1/tracks/4711/audio",
        &format!("/v1/tracks/{REMOVED}/audio"),
    ]) {
        note(server.get(path).await);
    }
    let audio = format!("/v1/tracks/{SUNRISE}/audio");
    for (header, value) in [
        ("range", "bytes=0-9"),
        ("range", "bytes=9000000-"),
        ("if-none-match", "*"),
        ("if-match", "\"another\""),
    ] {
        let request = server.request(Method::GET, &audio).header(header, value);
        note(server.send(request).await);
    }
    for path in UPLOADS {
        note(server.post(path, demo_clip(SUNRISE)).await);
        note(server.post(path, "").await);
        note(server.post(path, "plain text").await);
        note(server.post(path, uploads::wav(16_000, 100)).await);
        note(
            server
                .post(&format!("{path}?colour=red"), demo_clip(SUNRISE))
                .await,
        );
        let request = server.request(Method::POST, path);
        let formless = request
            .header("content-type", "multipart/form-data")
            .body("");
        note(server.send(formless).await);
    }
}

async fn on_servers_in_trouble(note: &mut impl FnMut(Answer)) {
    let m4a = uploads::m4a();

    let hurried = Server::start(|parts| parts.settings.server.request_seconds = 0).await;
    let broken = Server::broken().await;
    for path in READS {
        note(hurried.get(path).await);
        note(broken.get(path).await);
    }
    let full = Server::start(|parts| parts.settings.server.max_requests = 0).await;
    for route in ROUTES {
        if route.path.starts_with("/v1/") && !UPLOADS.contains(&route.path) {
            let method: Method = route.method.to_uppercase().parse().unwrap();
            let path = route.path.replace("{id}", "22006");
            note(full.send(full.request(method, &path)).await);
        }
    }
    let small = Server::start(|parts| parts.settings.server.max_body_mib = 1).await;
    for path in UPLOADS {
        note(hurried.post(path, demo_clip(SUNRISE)).await);
        note(broken.post(path, m4a.clone()).await);
        note(small.post(path, vec![0; 2 << 20]).await);
    }

    let empty = Server::empty().await;
    note(empty.get("/readyz").await);
    note(empty.get("/v1/tracks/22006/similar").await);
    for path in UPLOADS {
        note(empty.post_form(path, form(demo_clip(SUNRISE))).await);
    }

    let busy = Server::busy().await;
    for path in UPLOADS {
        let (a, b, c) = tokio::join!(
            busy.post(path, m4a.clone()),
            busy.post(path, m4a.clone()),
            busy.post(path, m4a.clone())
        );
        [a, b, c].into_iter().for_each(&mut *note);
    }
}

#[test]
fn paths_and_methods_that_are_not_there_are_problems() {
    run(async {
        let server = Server::shared().await;
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/nothing",
            "/v1/tracks/",
            "/livez/",
            "/docs/a/b",
            "/%FF",
        ] {
            server.get(path).await.problem(404, "no-such-route");
        }
        for (method, path) in [
            (Method::GET, "/v1/recommendations"),
            (Method::POST, "/v1/tracks"),
            (Method::DELETE, "/v1/tracks/22006"),
            (Method::PUT, "/v1/embeddings"),
            (Method::OPTIONS, "/v1/info"),
            (Method::PATCH, "/livez"),
            (Method::POST, "/docs/"),
        ] {
            let answer = server.send(server.request(method, path)).await;
            answer.problem(405, "method-not-allowed");
        }
    });
}

#[test]
fn every_request_has_an_id_its_own_or_a_new_one() {
    run(async {
        let server = Server::shared().await;
        let mut seen = BTreeSet::new();
        for path in ["/livez", "/livez", "/v1/nothing", "/v1/tracks/none"] {
            let answer = server.get(path).await;
            assert!(seen.insert(answer.header("x-request-id").to_owned()));
        }
        let request = server.request(Method::GET, "/livez");
        let answer = server.send(request.header("x-request-id", "mine-1")).await;
        assert_eq!(answer.header("x-request-id"), "mine-1");
    });
}
