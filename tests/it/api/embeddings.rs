//! `POST /v1/embeddings`.

use serde_json::Value;
use songkin::track::{ExtractorId, TrackId};

use super::{SUNRISE, Server, demo_clip, form, house, run};

const PATH: &str = "/v1/embeddings";

fn vector(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn a_catalogue_file_has_the_embeddings_that_the_catalogue_has() {
    run(async {
        let server = Server::shared().await;
        let answer = server.post(PATH, demo_clip(SUNRISE)).await.json();
        let info = server.get("/v1/info").await.json();
        assert_eq!(answer["dimension"], 32);
        assert_eq!(answer["dimension"], info["generation"]["dimension"]);
        assert_eq!(answer["generation"], info["generation"]["id"]);

        let extractor = info["generation"]["extractor"].as_str().unwrap();
        let catalog = &house().await.parts.catalog;
        let (extractor, before) = (ExtractorId::new(extractor), TrackId(SUNRISE - 1));
        let page = catalog.windows_page(&extractor, Some(before), 1).await;
        let kept = &page.unwrap()[0];
        assert_eq!(kept.id, TrackId(SUNRISE));
        let kept = &kept.windows;
        let windows = answer["windows"].as_array().unwrap();
        assert_eq!(windows.len(), kept.iter().count());
        assert_eq!(
            windows.len(),
            3,
            "26 s are two windows and the last 10.24 s"
        );
        let mut sum = vec![0.0; 32];
        for (window, (start, kept)) in windows.iter().zip(kept.iter()) {
            let found = vector(&window["embedding"]);
            assert!((length(&found) - 1.0).abs() < 1e-5);
            assert!(max_difference(&found, kept) < 1e-4);
            assert!((window["start_seconds"].as_f64().unwrap() - f64::from(start)).abs() < 1e-3);
            sum.iter_mut().zip(&found).for_each(|(sum, x)| *sum += x);
        }
        assert_eq!(windows[1]["start_seconds"], 10.24);

        let whole = vector(&answer["embedding"]);
        assert!((length(&whole) - 1.0).abs() < 1e-5);
        let norm = length(&sum);
        sum.iter_mut().for_each(|x| *x /= norm);
        assert!(
            max_difference(&whole, &sum) < 1e-5,
            "the windows' normalised mean"
        );
    });
}

#[test]
fn windows_start_where_the_offset_says() {
    run(async {
        let server = Server::shared().await;
        let fields = form(demo_clip(SUNRISE)).text("offset_seconds", "5");
        let answer = server.post_form(PATH, fields).await.json();
        let starts: Vec<f64> = answer["windows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|window| window["start_seconds"].as_f64().unwrap())
            .collect();
        assert_eq!(starts[..2], [5.0, 15.24]);
        assert_eq!(answer["query"]["offset_seconds"], 5.0);
    });
}

#[test]
fn it_takes_no_filters() {
    run(async {
        let server = Server::shared().await;
        let path = format!("{PATH}?k=3&genre=Rock&offset_seconds=x");
        let faults = server.post(&path, demo_clip(SUNRISE)).await.faults();
        assert_eq!(faults, ["offset_seconds", "genre", "k"]);
    });
}
