//! The files of a report.

use std::fs;

use songkin::train::evaluate::{
    Curves, EvaluateError, EvaluationSettings, LOSS_PLOT, MAP_PLOT, REPORT_JSON, REPORT_MARKDOWN,
    Report,
};

use super::{By, ear, labels, quick, run};

fn report() -> Report {
    let settings = EvaluationSettings {
        dataset: "sines".to_owned(),
        notes: vec!["There is no music in it.".to_owned()],
        ..quick()
    };
    let flat = |clip: &[f32]| vec![1.0, clip[100], clip[200]];
    run(
        &labels(24),
        &[&By("ear", ear), &By("flat", flat)],
        &settings,
    )
}

fn curves() -> Curves {
    Curves {
        training: (0..200)
            .map(|step| (step, 3.0 / (step + 1) as f64))
            .collect(),
        validation: vec![(50, 2.0), (100, f64::NAN), (150, 1.0)],
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let (report, dir) = (report(), tempfile::tempdir().unwrap());
    report.write(dir.path(), &curves()).unwrap();
    assert_eq!(Report::read(dir.path()).unwrap(), report);
    let json = fs::read_to_string(dir.path().join(REPORT_JSON)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["figures"].as_array().unwrap().len(), 33);
    let figure = &json["figures"][2];
    assert_eq!(figure["task"], "same_album");
    assert_eq!(figure["measure"], "mean_average_precision");
    assert_eq!(figure["queries"], 24);
    assert_eq!(figure["values"][0]["representation"], "ear");
    for key in ["value", "low", "high"] {
        assert!(figure["values"][0]["estimate"][key].is_f64(), "{key}");
    }
}

#[test]
fn the_readable_report_has_every_figure_and_what_the_data_is() {
    let (report, dir) = (report(), tempfile::tempdir().unwrap());
    report.write(dir.path(), &curves()).unwrap();
    let text = fs::read_to_string(dir.path().join(REPORT_MARKDOWN)).unwrap();
    for part in [
        "# Evaluation on sines",
        "| tracks | 24 |",
        "| albums | 6, the largest with 4 tracks |",
        "Folk\\|Pop 8",
        "| figure | queries | ear | flat | mfcc | random |",
        "## ear minus each other",
        "MP3, 64 kbit/s, recall@1: not measured: ffmpeg is not installed",
        "- There is no music in it.",
        "(loss.svg)",
        "(tsne.svg)",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    for figure in &report.figures {
        let row = format!("| {}, {}", figure.task.title(), figure.measure.title());
        assert!(text.contains(&row), "{row}");
    }
    assert!(!text.contains("NaN") && !text.contains("inf"));
    // Every row of a table has as many cells as its heading.
    let mut columns = None;
    for line in text.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        match columns.filter(|_| cells > 0) {
            Some(expected) => assert_eq!(cells, expected, "{line}"),
            None => columns = (cells > 0).then_some(cells),
        }
    }
}

#[test]
fn plots_are_well_formed_and_hold_every_track() {
    let (report, dir) = (report(), tempfile::tempdir().unwrap());
    report.write(dir.path(), &curves()).unwrap();
    let map = fs::read_to_string(dir.path().join(MAP_PLOT)).unwrap();
    // Two panels of 24 tracks, and two genres in the legend.
    assert_eq!(map.matches("<circle").count(), 2 * 24 + 2);
    assert!(map.contains("Rock &amp; Roll (16)") && map.contains(">ear<"));
    let loss = fs::read_to_string(dir.path().join(LOSS_PLOT)).unwrap();
    assert_eq!(loss.matches("<polyline").count(), 3);
    for plot in [map, loss] {
        assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n"));
        assert!(!plot.contains("NaN") && !plot.contains("inf"));
        let elements = plot.matches('<').count();
        let closed = plot.matches("/>").count() + 2 * plot.matches("</").count();
        assert_eq!(elements, closed);
    }
}

#[test]
fn without_curves_or_map_there_are_no_plots() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&labels(3), &[], &quick());
    report.write(dir.path(), &Curves::default()).unwrap();
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, [REPORT_JSON, REPORT_MARKDOWN]);
    let text = fs::read_to_string(dir.path().join(REPORT_MARKDOWN)).unwrap();
    assert!(!text.contains("## Plots"));
}

#[test]
fn what_cannot_be_written_or_read_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&[], &[], &quick());
    let nowhere = dir.path().join("missing");
    let error = report.write(&nowhere, &Curves::default()).unwrap_err();
    assert!(matches!(error, EvaluateError::Io { path, .. } if path.starts_with(&nowhere)));
    assert!(matches!(
        Report::read(&nowhere),
        Err(EvaluateError::Io { .. })
    ));
    fs::write(dir.path().join(REPORT_JSON), "{\"format\": 2}").unwrap();
    let newer = Report::read(dir.path()).unwrap_err();
    assert!(matches!(
        newer,
        EvaluateError::NewerFormat { found: 2, known: 1 }
    ));
    fs::write(dir.path().join(REPORT_JSON), "[]").unwrap();
    assert!(matches!(
        Report::read(dir.path()),
        Err(EvaluateError::Json { .. })
    ));
}
