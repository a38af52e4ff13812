//! Who may go into service.

use songkin::train::evaluate::{
    EvaluationSettings, GateRules, Measure, Report, Summary, Task, Verdict, gate,
};

use super::{By, ear, labels, run};

/// Hears pitch as `ear`, but only up to a step that most albums share.
fn dull(clip: &[f32]) -> Vec<f32> {
    let place = ear(clip);
    let noise = clip
        .iter()
        .take(50)
        .map(|sample| sample * sample)
        .sum::<f32>();
    vec![place[0].round(), place[1].round(), noise, 0.1]
}

fn report() -> Report {
    let settings = EvaluationSettings {
        robustness_tracks: 0,
        map_points: 0,
        linear_probe: false,
        ..super::quick()
    };
    let again = By("again", ear);
    run(
        &labels(32),
        &[&By("ear", ear), &By("dull", dull), &again],
        &settings,
    )
}

/// Rules that the ear's circle, which is a line of few dimensions, does not break.
fn rules() -> GateRules {
    GateRules {
        min_effective_dimensions: 1.0,
        ..GateRules::default()
    }
}

fn summary<'a>(report: &'a mut Report, name: &str) -> &'a mut Summary {
    let mut all = report.representations.iter_mut();
    all.find(|it| it.name == name).unwrap()
}

#[track_caller]
fn fails_because(verdict: &Verdict, reason: &str) {
    assert!(!verdict.passed, "{verdict:?}");
    let found = verdict.reasons.iter().any(|it| it.contains(reason));
    assert!(found, "{reason}: {verdict:?}");
}

#[test]
fn the_better_one_passes_and_the_worse_one_fails() {
    let report = report();
    let verdict = gate(&report, "ear", Some("dull"), &rules());
    assert!(verdict.passed, "{verdict:?}");
    assert!(
        verdict
            .reasons
            .iter()
            .any(|it| it.starts_with("same album mAP is better than dull's"))
    );
    let verdict = gate(&report, "dull", Some("ear"), &rules());
    fails_because(&verdict, "same album mAP is worse than ear's: -");
    fails_because(&verdict, "no main figure is better");
}

#[test]
fn the_same_model_again_is_no_reason_to_change() {
    let verdict = gate(&report(), "again", Some("ear"), &rules());
    fails_because(&verdict, "no main figure is better than ear's");
    assert!(
        verdict
            .reasons
            .iter()
            .any(|it| it.contains("is not told from ear's"))
    );
}

#[test]
fn the_first_model_must_beat_chance() {
    let verdict = gate(&report(), "ear", None, &rules());
    assert!(verdict.passed, "{verdict:?}");
    let verdict = gate(&report(), "random", None, &rules());
    fails_because(&verdict, "no model called random was evaluated");
}

#[test]
fn names_must_be_in_the_report() {
    let report = report();
    let verdict = gate(&report, "nobody", Some("ear"), &rules());
    fails_because(&verdict, "no model called nobody was evaluated");
    let verdict = gate(&report, "ear", Some("nobody"), &rules());
    fails_because(&verdict, "nothing called nobody was evaluated");
    let verdict = gate(&report, "ear", Some("ear"), &rules());
    fails_because(&verdict, "cannot be better than itself");
}

#[test]
fn too_few_queries_decide_nothing() {
    let rules = GateRules {
        min_queries: 100,
        ..rules()
    };
    let verdict = gate(&report(), "ear", Some("dull"), &rules);
    fails_because(&verdict, "no main figure has the 100 queries");
}

#[test]
fn without_albums_the_artist_decides() {
    let mut report = report();
    report
        .figures
        .retain(|figure| figure.task != Task::SameAlbum);
    let verdict = gate(&report, "ear", Some("dull"), &rules());
    assert!(
        verdict
            .reasons
            .iter()
            .any(|it| it.starts_with("same artist mAP")),
        "{verdict:?}"
    );
}

#[test]
fn a_collapse_fails_whatever_the_figures_say() {
    let mut collapsed = report();
    summary(&mut collapsed, "ear").effective_dimensions = Some(0.9);
    let verdict = gate(&collapsed, "ear", Some("dull"), &rules());
    fails_because(&verdict, "they fill 0.9 dimensions");
    let mut alike = report();
    summary(&mut alike, "ear").mean_cosine = Some(0.9999);
    let verdict = gate(&alike, "ear", Some("dull"), &rules());
    fails_because(&verdict, "two tracks have a mean cosine of 0.9999");
}

#[test]
fn an_explosion_of_hubs_fails() {
    let mut report = report();
    for figure in &mut report.figures {
        if (figure.task, figure.measure) == (Task::Hubness, Measure::Skewness) {
            for difference in &mut figure.differences {
                difference.estimate.value = 3.0;
                difference.estimate.low = 2.0;
                difference.estimate.high = 4.0;
            }
        }
    }
    let verdict = gate(&report, "ear", Some("dull"), &rules());
    fails_because(&verdict, "hubness has grown");
}
