//! What browsers are told: nothing may be done with an answer that was not meant.

use reqwest::Method;
use songkin::api::ROUTES;

use super::{Answer, Server, run};

const ORIGIN: &str = "https://music.example";

impl Server {
    async fn ask_from(&self, method: Method, path: &str, origin: &str) -> Answer {
        let request = self.request(method, path).header("origin", origin);
        self.send(request).await
    }

    /// What a browser asks before it sends something with a key.
    async fn preflight(&self, origin: &str) -> reqwest::Response {
        self.request(Method::OPTIONS, "/v1/recommendations")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
            .send()
            .await
            .unwrap()
    }
}

async fn with_origins(origins: &str) -> Server {
    let origins = origins.to_owned().try_into().unwrap();
    Server::start(move |parts| parts.settings.server.cors_origins = origins).await
}

#[test]
fn every_answer_has_the_headers_that_keep_browsers_in_bounds() {
    run(async {
        let server = Server::shared().await;
        let paths = ROUTES.iter().map(|route| {
            let path = route
                .path
                .replace("{id}", "22006")
                .replace("{*file}", "index.html");
            (route.method.to_uppercase().parse().unwrap(), path)
        });
        let others = [
            (Method::GET, "/nothing".to_owned()),
            (Method::DELETE, "/livez".to_owned()),
            (Method::GET, "/v1/tracks/none".to_owned()),
        ];
        for (method, path) in paths.chain(others) {
            let answer = server.send(server.request(method, &path)).await;
            let call = &answer.call;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), value, "{call}: {name}");
            }
            let policy = answer.header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; "),
                "{call}: {policy}"
            );
            assert!(
                policy.contains("frame-ancestors 'none'"),
                "{call}: {policy}"
            );
            assert!(!policy.contains("unsafe"), "{call}: {policy}");
            assert_eq!(
                policy.contains("script-src"),
                path.starts_with("/docs/"),
                "{call}"
            );
            // Only where it came over TLS does a browser have to come back over TLS.
            assert_eq!(answer.header("strict-transport-security"), "");
            let caching = answer.header("cache-control");
            assert_eq!(
                caching.is_empty(),
                !path.starts_with("/v1/"),
                "{call}: {caching}"
            );
        }
        let audio = server.get("/v1/tracks/22006/audio").await;
        assert_eq!(
            audio.expect(200).header("cache-control"),
            "private, no-cache"
        );
    });
}

/// The policy of the documentation lets only files of this server run, so its page must have nothing else.
#[test]
fn the_documentation_has_nothing_that_its_policy_forbids() {
    run(async {
        let server = Server::shared().await;
        let page = server.get("/docs/").await;
        let html = page.expect(200).text().to_lowercase();
        for script in html.split("<script").skip(1) {
            let (tag, rest) = script.split_once('>').unwrap();
            let (inside, _) = rest.split_once("</script>").unwrap();
            assert!(tag.contains("src=") && inside.trim().is_empty(), "{script}");
        }
        for inline in ["<style", " style=", " onload=", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
    });
}

#[test]
fn no_other_origin_is_let_in_unless_it_is_named() {
    run(async {
        let closed = Server::shared().await;
        let answer = closed.ask_from(Method::GET, "/v1/info", ORIGIN).await;
        assert_eq!(answer.expect(200).header("access-control-allow-origin"), "");
        let refused = closed.preflight(ORIGIN).await;
        assert_eq!(refused.status(), 405);
        assert!(
            !refused
                .headers()
                .contains_key("access-control-allow-origin")
        );

        let open = with_origins("https://music.example,http://localhost:3000").await;
        for (origin, allowed) in [
            (ORIGIN, ORIGIN),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://music.example.evil.example", ""),
            ("http://music.example", ""),
            ("null", ""),
        ] {
            let answer = open.ask_from(Method::GET, "/v1/info", origin).await;
            assert_eq!(
                answer.header("access-control-allow-origin"),
                allowed,
                "{origin}"
            );
            assert_eq!(answer.header("access-control-allow-credentials"), "");
            let preflight = open.preflight(origin).await;
            let given = preflight.headers().get("access-control-allow-origin");
            let given = given.map_or("", |value| value.to_str().unwrap());
            assert_eq!(given, allowed, "{origin}");
        }
        let preflight = open.preflight(ORIGIN).await;
        assert_eq!(preflight.status(), 200);
        let headers = preflight.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap();
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        // Errors too have to be readable.
        let error = open.ask_from(Method::GET, "/v1/tracks/none", ORIGIN).await;
        assert_eq!(
            error.expect(400).header("access-control-allow-origin"),
            ORIGIN
        );

        let any = with_origins("*").await;
        let answer = any.ask_from(Method::GET, "/v1/info", ORIGIN).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    });
}

#[test]
fn an_id_that_is_no_good_is_replaced() {
    run(async {
        let server = Server::shared().await;
        let long = "a".repeat(129);
        for id in ["", "two words", &long] {
            let request = server.request(Method::GET, "/livez");
            let answer = server.send(request.header("x-request-id", id)).await;
            let given = answer.header("x-request-id");
            assert!(!given.is_empty() && given != id, "{given}");
        }
    });
}
