//! Is a model any good? Figures on tracks that it never heard, beside baselines from the same run.
//!
//! ```text
//! tracks -> clips -> views -> vectors -> neighbours -> one value a query -> figures -> report, gate
//!                    cut      Embed      compare       measure, ranking     bootstrap
//! ```
//!
//! Random vectors say what chance gives, MFCC statistics what timbre alone gives; both go the same way as the
//! encoders that the caller hands in: the trained one first, then the untrained one and the one in service.
//! Every figure has a 95 % interval, every difference one over the same queries. What these tracks cannot tell
//! is missing with a reason.

mod baselines;
mod bootstrap;
mod compare;
mod error;
mod gate;
mod hubness;
mod map;
mod measure;
mod perturb;
mod probe;
mod ranking;
mod report;
mod settings;
mod spread;
mod task;
mod tsne;
mod views;

use std::collections::{BTreeMap, BTreeSet};

pub use baselines::{MFCC, RANDOM};
pub use bootstrap::Interval;
pub use compare::{Comparison, Kind};
pub use error::{BoxError, EvaluateError};
pub use gate::{GateRules, Verdict, gate};
pub use report::{
    Curves, Dataset, Difference, Estimate, Figure, GenreCount, LOSS_PLOT, MAP_PLOT, Map, Panel,
    REPORT_JSON, REPORT_MARKDOWN, Report, Skipped, Summary, Value,
};
pub use settings::{Embed, EvaluationSettings, Hooks, Labels, Progress, Stage, Tracks};
pub use task::{Measure, Task};

use baselines::{MfccStatistics, Random};
use compare::Representation;
use measure::{Plan, Sample};
use task::Unavailable;
use views::{Embedded, Space};

/// Evaluates representations on tracks that none of them was trained on.
///
/// Clips are loaded one at a time; what is kept of a track are its vectors (up to ten of each
/// representation). The same tracks, embedders and settings give the same report, bit for bit, where `ffmpeg`
/// is the same.
///
/// # Errors
/// [`EvaluateError`] when the caller cancels, too many tracks have no clip, an embedder fails, or two of them
/// have one name. That there are too few tracks or labels for a figure is no error.
pub fn evaluate(
    tracks: &Tracks<'_>,
    embedders: &[&dyn Embed],
    settings: &EvaluationSettings,
    hooks: &Hooks<'_>,
) -> Result<Report, EvaluateError> {
    check_names(tracks, embedders)?;
    let mfcc = MfccStatistics::new()?;
    let random = Random {
        seed: settings.seed,
    };
    let baselines: [&dyn Embed; 2] = [&mfcc, &random];
    let all: Vec<&dyn Embed> = embedders.iter().copied().chain(baselines).collect();
    let mut embedded = views::embed_all(tracks, &all, settings, hooks)?;

    let spaces = std::mem::take(&mut embedded.spaces);
    let plan = Plan {
        labels: &embedded.labels,
        probe: match settings.linear_probe {
            true => probe::Plan::new(&embedded.labels),
            false => Err(Unavailable::NotWanted),
        },
        mp3_missing: embedded.mp3_missing,
    };
    let mut representations = Vec::with_capacity(all.len());
    let mut samples = Vec::with_capacity(all.len());
    for (number, (embedder, space)) in all.iter().zip(spaces).enumerate() {
        let kind = match embedder.name() {
            RANDOM => Kind::Random,
            MFCC => Kind::MfccStatistics,
            _ => Kind::Encoder,
        };
        let (representation, measured) = measure_best(&plan, embedder.name(), kind, space);
        representations.push(representation);
        samples.push(measured);
        hooks.step(Stage::Measuring, number + 1, all.len())?;
    }
    let labels = &embedded.labels;
    let figures = report::figures(&representations, &samples, labels, settings, hooks)?;
    let map = map::draw(&embedded, &representations, settings, hooks)?;
    Ok(Report::new(
        describe(&embedded, settings),
        settings.clone(),
        representations.iter().map(summarise).collect(),
        figures,
        map,
    ))
}

fn check_names(tracks: &Tracks<'_>, embedders: &[&dyn Embed]) -> Result<(), EvaluateError> {
    let mut names = BTreeSet::from([RANDOM, MFCC]);
    for embedder in embedders {
        let name = embedder.name();
        if !names.insert(name) {
            let name = name.to_owned();
            return Err(EvaluateError::RepeatedName { name });
        }
    }
    let mut ids = BTreeSet::new();
    for labels in tracks.labels {
        if !ids.insert(labels.id) {
            return Err(EvaluateError::RepeatedTrack { track: labels.id });
        }
    }
    Ok(())
}

/// Measures a representation. MFCC statistics are measured by cosine and by distance, and the way with the
/// better main figure is taken: a baseline must not be weak because of how it was compared.
fn measure_best(
    plan: &Plan<'_>,
    name: &str,
    kind: Kind,
    space: Space,
) -> (Representation, Vec<Sample>) {
    let measured = |comparison, space| {
        let representation = Representation::new(name, kind, comparison, space);
        let samples = plan.measure(&representation);
        (representation, samples)
    };
    if kind != Kind::MfccStatistics {
        return measured(Comparison::Cosine, space);
    }
    let by_distance = measured(Comparison::Euclidean, space.clone());
    let by_cosine = measured(Comparison::Cosine, space);
    match main_figure(&by_distance.1) > main_figure(&by_cosine.1) {
        true => by_distance,
        false => by_cosine,
    }
}

/// The first that could be measured of same-album mAP, same-artist mAP and crop-to-track recall@1.
fn main_figure(samples: &[Sample]) -> f64 {
    let mains = [
        (Task::SameAlbum, Measure::MeanAveragePrecision),
        (Task::SameArtist, Measure::MeanAveragePrecision),
        (Task::CropToTrack, Measure::RecallAt1),
    ];
    let of = |main| {
        samples
            .iter()
            .find(|sample| (sample.task, sample.measure) == main)
    };
    let values = mains
        .into_iter()
        .find_map(|main| of(main)?.outcome.as_ref().ok());
    values.map_or(0.0, |it| {
        it.values.iter().sum::<f64>() / it.values.len() as f64
    })
}

fn summarise(it: &Representation) -> Summary {
    let vectors = &it.space.whole.vectors;
    let spread = spread::spread(vectors);
    Summary {
        name: it.name.clone(),
        kind: it.kind,
        comparison: it.comparison,
        dimension: vectors.first().map_or(0, Vec::len),
        mean_cosine: spread.map(|spread| report::round(spread.mean_cosine)),
        effective_dimensions: spread.map(|spread| report::round(spread.effective_dimensions)),
    }
}

fn describe(embedded: &Embedded, settings: &EvaluationSettings) -> Dataset {
    let labels = &embedded.labels;
    let count = |of: &dyn Fn(&Labels) -> Option<i64>| {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for id in labels.iter().filter_map(of) {
            *counts.entry(id).or_default() += 1;
        }
        counts
    };
    let unknown = |counts: &BTreeMap<i64, usize>| labels.len() - counts.values().sum::<usize>();
    let (albums, artists) = (count(&|it| it.album), count(&|it| it.artist));
    let genres = count(&|it| it.genre);
    let titles = embedded.genre_titles();
    let mut genre_counts: Vec<GenreCount> = genres
        .iter()
        .map(|(id, &tracks)| GenreCount {
            title: titles[id].clone(),
            tracks,
        })
        .collect();
    genre_counts.sort_by_key(|genre| std::cmp::Reverse(genre.tracks));
    Dataset {
        name: settings.dataset.clone(),
        notes: settings.notes.clone(),
        tracks: labels.len(),
        albums: albums.len(),
        largest_album: albums.values().copied().max().unwrap_or(0),
        artists: artists.len(),
        genres: genre_counts,
        without_album: unknown(&albums),
        without_artist: unknown(&artists),
        without_genre: unknown(&genres),
        seconds: report::round(embedded.seconds),
        skipped: embedded.skipped.clone(),
    }
}
