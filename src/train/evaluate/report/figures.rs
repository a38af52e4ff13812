//! From one value a query to figures with intervals.

use std::collections::BTreeMap;

use super::{Difference, Estimate, Figure, Value};
use crate::train::evaluate::{
    EvaluateError, EvaluationSettings, Hooks, Interval, Kind, Labels, Stage,
    bootstrap::{Statistic, interval, resample},
    compare::Representation,
    measure::{Sample, Values},
};

/// Below this number of albums, resampling them says nothing.
const MIN_ALBUMS: usize = 5;

/// Makes a figure of the samples in the same place of every representation's list.
pub(in crate::train::evaluate) fn figures(
    representations: &[Representation],
    samples: &[Vec<Sample>],
    labels: &[Labels],
    settings: &EvaluationSettings,
    hooks: &Hooks<'_>,
) -> Result<Vec<Figure>, EvaluateError> {
    let total = samples.first().map_or(0, Vec::len);
    let mut figures = Vec::with_capacity(total);
    for number in 0..total {
        let column: Vec<&Sample> = samples.iter().map(|samples| &samples[number]).collect();
        figures.push(figure(representations, &column, labels, settings));
        hooks.step(Stage::Resampling, number + 1, total)?;
    }
    Ok(figures)
}

fn figure(
    representations: &[Representation],
    samples: &[&Sample],
    labels: &[Labels],
    settings: &EvaluationSettings,
) -> Figure {
    let (task, measure) = (samples[0].task, samples[0].measure);
    let measured: Result<Vec<&Values>, _> = samples
        .iter()
        .map(|sample| sample.outcome.as_ref().map_err(|reason| *reason))
        .collect();
    let mut figure = Figure {
        task,
        measure,
        higher_is_better: measure.higher_is_better(),
        queries: 0,
        reason: None,
        values: Vec::new(),
        differences: Vec::new(),
    };
    match measured {
        Ok(columns) => {
            let bootstrap = Bootstrap::new(&columns, measure.statistic(), labels, settings);
            figure.queries = columns[0].tracks.len();
            figure.values = values(representations, |at| Some(bootstrap.value(at)));
            figure.differences = differences(representations, &bootstrap);
        }
        Err(reason) => {
            figure.reason = Some(reason.to_string());
            figure.values = values(representations, |_| None);
        }
    }
    figure
}

fn values(
    representations: &[Representation],
    estimate: impl Fn(usize) -> Option<Estimate>,
) -> Vec<Value> {
    let value = |(at, it): (usize, &Representation)| Value {
        representation: it.name.clone(),
        estimate: estimate(at),
    };
    representations.iter().enumerate().map(value).collect()
}

fn differences(representations: &[Representation], bootstrap: &Bootstrap) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (at, it) in representations.iter().enumerate() {
        if it.kind != Kind::Encoder {
            continue;
        }
        for (other, minus) in representations.iter().enumerate().skip(at + 1) {
            differences.push(Difference {
                representation: it.name.clone(),
                minus: minus.name.clone(),
                estimate: bootstrap.difference(at, other),
            });
        }
    }
    differences
}

/// A figure's point values and resamples, for every representation.
struct Bootstrap {
    points: Vec<f64>,
    by_query: Vec<Vec<f64>>,
    /// `None` where there are too few albums.
    by_album: Option<Vec<Vec<f64>>>,
}

impl Bootstrap {
    fn new(
        columns: &[&Values],
        statistic: Statistic,
        labels: &[Labels],
        settings: &EvaluationSettings,
    ) -> Self {
        let values: Vec<&[f64]> = columns.iter().map(|it| it.values.as_slice()).collect();
        let draw = |clusters: &[Vec<usize>]| {
            resample(
                &values,
                clusters,
                statistic,
                settings.resamples,
                settings.seed,
            )
        };
        let tracks = &columns[0].tracks;
        let singles: Vec<Vec<usize>> = (0..tracks.len()).map(|query| vec![query]).collect();
        let albums = albums(tracks, labels);
        Self {
            points: values
                .iter()
                .map(|values| statistic.of(values.iter().copied()))
                .collect(),
            by_query: draw(&singles),
            by_album: (albums.len() >= MIN_ALBUMS).then(|| draw(&albums)),
        }
    }

    fn value(&self, at: usize) -> Estimate {
        self.estimate(self.points[at], |resamples| resamples[at].clone())
    }

    fn difference(&self, at: usize, other: usize) -> Estimate {
        self.estimate(self.points[at] - self.points[other], |resamples| {
            let pairs = resamples[at].iter().zip(&resamples[other]);
            pairs.map(|(left, right)| left - right).collect()
        })
    }

    fn estimate(&self, value: f64, of: impl Fn(&[Vec<f64>]) -> Vec<f64>) -> Estimate {
        let point = Interval {
            low: value,
            high: value,
        };
        let by_query = interval(of(&self.by_query)).unwrap_or(point);
        let by_album = self.by_album.as_deref();
        let by_album = by_album.and_then(|resamples| interval(of(resamples)));
        Estimate {
            value: round(value),
            low: round(by_query.low),
            high: round(by_query.high),
            by_album: by_album.map(|it| Interval {
                low: round(it.low),
                high: round(it.high),
            }),
        }
    }
}

/// Six decimals: more than any figure means, and few enough to be read back from JSON bit for bit.
pub(in crate::train::evaluate) fn round(value: f64) -> f64 {
    // Adding 0 makes -0 a 0.
    (value * 1e6).round() / 1e6 + 0.0
}

/// Queries by the albums of their tracks; a track without a known album is an album of its own.
fn albums(tracks: &[usize], labels: &[Labels]) -> Vec<Vec<usize>> {
    let mut known: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    let mut alone = Vec::new();
    for (query, &track) in tracks.iter().enumerate() {
        match labels[track].album {
            Some(album) => known.entry(album).or_default().push(query),
            None => alone.push(vec![query]),
        }
    }
    known.into_values().chain(alone).collect()
}
