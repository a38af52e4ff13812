//! May a new generation go into service?
//!
//! Both models are measured in one evaluation, over the same tracks and queries; reports of different runs
//! are never compared. What decides is the interval of the paired difference, not two intervals side by side.

use serde::{Deserialize, Serialize};

use super::{Estimate, Kind, Measure, RANDOM, Report, Task};

/// What a new model must keep to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateRules {
    /// Queries that a figure must have to decide anything.
    pub min_queries: usize,
    /// Effective dimensions that the embeddings must fill; fewer are a collapse.
    pub min_effective_dimensions: f64,
    /// The largest mean cosine of two tracks; above it all tracks look alike.
    pub max_mean_cosine: f64,
    /// By how much the skewness of the 10-occurrence may grow.
    pub max_skewness_growth: f64,
    /// By how much the share of anti-hubs may grow.
    pub max_anti_hubs_growth: f64,
}

impl Default for GateRules {
    fn default() -> Self {
        Self {
            min_queries: 20,
            min_effective_dimensions: 2.0,
            max_mean_cosine: 0.99,
            max_skewness_growth: 1.0,
            max_anti_hubs_growth: 0.1,
        }
    }
}

/// Whether the new model may be served, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it may.
    pub passed: bool,
    /// One sentence for each thing that was looked at, without full stops.
    pub reasons: Vec<String>,
}

/// Compares two representations of one report. Without an `active` one, the new model must beat chance.
///
/// The new model passes if on the main figures, same-album mAP (without albums: same-artist mAP) and
/// crop-to-track recall@1, no paired difference lies below 0 with its whole interval and at least one lies
/// above 0 with its whole interval, its embeddings have not collapsed, and hubness has not grown beyond the
/// rules.
#[must_use]
pub fn gate(report: &Report, new: &str, active: Option<&str>, rules: &GateRules) -> Verdict {
    let mut gate = Gate {
        report,
        new,
        other: active.unwrap_or(RANDOM),
        rules,
        passed: true,
        reasons: Vec::new(),
    };
    gate.known();
    if gate.passed {
        gate.main_figures();
        gate.collapse();
        // Random vectors have no hubs to speak of; any real representation has more.
        if active.is_some() {
            gate.hubness();
        }
    }
    Verdict {
        passed: gate.passed,
        reasons: gate.reasons,
    }
}

struct Gate<'a> {
    report: &'a Report,
    new: &'a str,
    other: &'a str,
    rules: &'a GateRules,
    passed: bool,
    reasons: Vec<String>,
}

impl Gate<'_> {
    fn fail(&mut self, reason: String) {
        self.passed = false;
        self.reasons.push(reason);
    }

    /// Both are in the report, and are not the same.
    fn known(&mut self) {
        let of = |name: &str| {
            self.report
                .representations
                .iter()
                .find(|it| it.name == name)
        };
        let new = of(self.new).is_some_and(|it| it.kind == Kind::Encoder);
        let other = of(self.other).is_some();
        if !new {
            self.fail(format!("no model called {} was evaluated", self.new));
        }
        if !other {
            self.fail(format!("nothing called {} was evaluated", self.other));
        }
        if self.new == self.other {
            self.fail(format!("{} cannot be better than itself", self.new));
        }
    }

    /// The difference in a figure that has queries enough.
    fn difference(&self, task: Task, measure: Measure) -> Option<Estimate> {
        let queries = self.report.figure(task, measure)?.queries;
        let difference = self.report.difference(task, measure, self.new, self.other);
        difference.filter(|_| queries >= self.rules.min_queries)
    }

    fn main_figures(&mut self) {
        let of_labels = [Task::SameAlbum, Task::SameArtist]
            .map(|task| (task, Measure::MeanAveragePrecision))
            .into_iter()
            .find(|&(task, measure)| self.difference(task, measure).is_some());
        let mut better = 0;
        let mut measured = 0;
        for (task, measure) in of_labels
            .into_iter()
            .chain([(Task::CropToTrack, Measure::RecallAt1)])
        {
            let Some(difference) = self.difference(task, measure) else {
                continue;
            };
            measured += 1;
            let Estimate {
                value, low, high, ..
            } = difference;
            let figure = format!("{} {}", task.title(), measure.title());
            let numbers = format!("{value:+.3}, 95 % interval {low:+.3} to {high:+.3}");
            if high < 0.0 {
                self.fail(format!(
                    "{figure} is worse than {}'s: {numbers}",
                    self.other
                ));
            } else if low > 0.0 {
                better += 1;
                let reason = format!("{figure} is better than {}'s: {numbers}", self.other);
                self.reasons.push(reason);
            } else {
                let reason = format!("{figure} is not told from {}'s: {numbers}", self.other);
                self.reasons.push(reason);
            }
        }
        if measured == 0 {
            self.fail(format!(
                "no main figure has the {} queries that it takes to decide",
                self.rules.min_queries
            ));
        } else if better == 0 {
            self.fail(format!("no main figure is better than {}'s", self.other));
        }
    }

    fn collapse(&mut self) {
        let mut all = self.report.representations.iter();
        let Some(it) = all.find(|it| it.name == self.new) else {
            return;
        };
        let (dimensions, cosine) = (it.effective_dimensions, it.mean_cosine);
        let least = self.rules.min_effective_dimensions;
        if let Some(found) = dimensions.filter(|&found| found < least) {
            self.fail(format!(
                "the embeddings have collapsed: they fill {found:.1} dimensions, and {least:.1} is the least"
            ));
        }
        let most = self.rules.max_mean_cosine;
        if let Some(found) = cosine.filter(|&found| found > most) {
            self.fail(format!(
                "the embeddings have collapsed: two tracks have a mean cosine of {found:.4}, and {most:.4} is the most"
            ));
        }
    }

    fn hubness(&mut self) {
        let limits = [
            (Measure::Skewness, self.rules.max_skewness_growth),
            (Measure::AntiHubs, self.rules.max_anti_hubs_growth),
        ];
        for (measure, limit) in limits {
            let growth = self.difference(Task::Hubness, measure);
            // Only what is beyond the limit with its whole interval.
            if let Some(growth) = growth.filter(|growth| growth.low > limit) {
                self.fail(format!(
                    "hubness has grown: {} by {:.3}, 95 % interval {:.3} to {:.3}, where {limit:.3} is allowed",
                    measure.title(),
                    growth.value,
                    growth.low,
                    growth.high
                ));
            }
        }
    }
}
