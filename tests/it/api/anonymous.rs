//! Callers without a key, where those are let in.

use reqwest::Method;
use songkin::{
    api::{Access, ROUTES},
    keys::{Quotas, Scope},
};

use super::{Server, concrete, key_for, new_key, run};

#[test]
fn a_caller_without_a_key_may_do_what_changes_nothing() {
    run(async {
        let server = Server::shared().await;
        for route in ROUTES {
            let method: Method = route.method.to_uppercase().parse().unwrap();
            let answer = server
                .send(server.request(method, &concrete(route.path)))
                .await;
            let refused = matches!(route.access, Access::Needs(Scope::Ingest | Scope::Admin));
            assert_eq!(answer.status == 401, refused, "{}", answer.call);
        }
    });
}

/// A key that is wrong is not as good as none: its holder should learn of it.
#[test]
fn a_wrong_key_is_told_also_where_none_is_needed() {
    run(async {
        let server = Server::shared().await;
        for header in ["", "Bearer", "Bearer songkin_", "Basic YTpi"] {
            let request = server.request(Method::GET, "/v1/info");
            let answer = server.send(request.header("authorization", header)).await;
            answer.problem(401, "unauthorized");
        }
    });
}

#[test]
fn what_a_proxy_passes_on_or_a_page_sends_is_not_from_here() {
    run(async {
        let server = Server::shared().await;
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("via", "1.1 proxy"),
            ("host", "music.example.com"),
        ] {
            let request = server.request(Method::GET, "/v1/info").header(name, value);
            server.send(request).await.problem(401, "unauthorized");
        }
        let request = server.request(Method::GET, "/v1/info");
        let request = request.header("host", "localhost:8000");
        server.send(request).await.expect(200);
    });
}

/// With a key it does not matter where a call comes from.
#[test]
fn a_key_is_good_behind_a_proxy() {
    run(async {
        let (server, keys) = Server::guarded(|_| {}).await;
        let key = key_for(&server, &keys, &new_key([Scope::Read], Quotas::default())).await;
        let request = server.request_with(&key, Method::GET, "/v1/info");
        let request = request
            .header("x-forwarded-for", "192.0.2.1")
            .header("host", "music.example.com");
        server.send(request).await.expect(200);
    });
}
