//! Swagger UI, all of it from this server.

use super::{Server, run};

/// What stands between `start` and the next `end`, everywhere in `text`.
fn between<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
    text.split(start)
        .skip(1)
        .filter_map(|rest| rest.split(end).next())
        .collect()
}

#[test]
fn the_documentation_comes_from_this_server_alone() {
    run(async {
        let server = Server::shared().await;
        let page = server.get("/docs/").await;
        let html = page.expect(200).text();
        let mut files = between(html, "src=\"", '"');
        files.extend(between(html, "href=\"", '"'));
        for wanted in [
            "swagger-ui.css",
            "swagger-ui-bundle.js",
            "swagger-initializer.js",
        ] {
            assert!(
                files.iter().any(|file| file.ends_with(wanted)),
                "{wanted}: {html}"
            );
        }
        for file in files {
            assert!(!file.contains("//"), "{file} is on another server");
            let path = format!("/docs/{}", file.trim_start_matches("./"));
            let answer = server.get(&path).await;
            assert!(!answer.expect(200).body.is_empty(), "{path}");
        }
        for (path, media) in [
            ("/docs/swagger-ui.css", "text/css"),
            ("/docs/swagger-ui-bundle.js", "text/javascript"),
            ("/docs/index.html", "text/html"),
        ] {
            assert_eq!(server.get(path).await.header("content-type"), media);
        }
    });
}

#[test]
fn the_page_shows_this_document_and_asks_nobody_about_it() {
    run(async {
        let server = Server::shared().await;
        let script = server.get("/docs/swagger-initializer.js").await;
        let script = script.expect(200).text();
        assert!(script.contains("\"/openapi.yaml\""), "{script}");
        assert!(script.contains("\"validatorUrl\": \"none\""), "{script}");
        assert!(!script.contains("://"), "{script}");
    });
}

#[test]
fn the_way_to_the_documentation_is_short() {
    run(async {
        let server = Server::shared().await;
        let answer = server.get("/docs").await;
        assert_eq!(answer.expect(308).header("location"), "/docs/");
        server.get("/docs/../Cargo.toml").await.expect(404);
        server
            .get("/docs/%2e%2e%2fCargo.toml")
            .await
            .problem(404, "no-such-route");
    });
}
