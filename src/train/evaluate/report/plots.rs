//! The loss over training, and the t-SNE maps side by side.

use std::collections::BTreeMap;

use super::{
    Map,
    svg::{Anchor, GREY, INK, PALETTE, Scale, Svg},
};

/// Losses of a training run, by step. Values that are not finite are left out of the plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// The loss on the training batches.
    pub training: Vec<(u64, f64)>,
    /// The loss on the validation tracks.
    pub validation: Vec<(u64, f64)>,
}

/// Points of the raw curve at most; more only make the file large.
const MAX_POINTS: usize = 2_000;
/// The drawn mean of the training loss spans this part of the run.
const SMOOTHING: usize = 25;

/// The plot of the losses; `None` where there is nothing to draw.
pub(super) fn loss(curves: &Curves) -> Option<String> {
    let training = finite(&curves.training);
    let validation = finite(&curves.validation);
    let all = || training.iter().chain(&validation);
    if all().count() < 2 {
        return None;
    }
    let (left, right, top, bottom) = (60.0, 700.0, 20.0, 340.0);
    let x = Scale::new(all().map(|point| point[0]), [left, right]);
    let y = Scale::new(all().map(|point| point[1]), [bottom, top]);
    let at = |points: &[[f64; 2]]| -> Vec<[f64; 2]> {
        points
            .iter()
            .map(|p| [x.place(p[0]), y.place(p[1])])
            .collect()
    };

    let mut svg = Svg::new(720.0, 400.0);
    for (value, label) in x.ticks() {
        svg.line(
            [x.place(value), bottom],
            [x.place(value), bottom + 5.0],
            INK,
        );
        svg.text([x.place(value), bottom + 20.0], Anchor::Middle, &label);
    }
    for (value, label) in y.ticks() {
        svg.line([left, y.place(value)], [right, y.place(value)], "#eeeeee");
        svg.text([left - 8.0, y.place(value) + 4.0], Anchor::End, &label);
    }
    svg.line([left, bottom], [right, bottom], INK);
    svg.line([left, top], [left, bottom], INK);
    svg.text([(left + right) / 2.0, 385.0], Anchor::Middle, "step");

    svg.polyline(&at(&thin(&training)), PALETTE[0], 1.0, 0.35);
    svg.polyline(&at(&thin(&smooth(&training))), PALETTE[0], 2.0, 1.0);
    svg.polyline(&at(&validation), PALETTE[5], 2.0, 1.0);
    for point in at(&validation) {
        svg.dot(point, 3.5, PALETTE[5]);
    }
    let names = [("training loss", 0), ("validation loss", 5)];
    for (row, (name, colour)) in names.into_iter().enumerate() {
        let height = top + 14.0 + 20.0 * row as f64;
        svg.dot([right - 130.0, height - 4.0], 5.0, PALETTE[colour]);
        svg.text([right - 118.0, height], Anchor::Start, name);
    }
    Some(svg.finish())
}

fn finite(curve: &[(u64, f64)]) -> Vec<[f64; 2]> {
    let points = curve.iter().filter(|(_, loss)| loss.is_finite());
    points.map(|&(step, loss)| [step as f64, loss]).collect()
}

/// Every n-th point, and the last.
fn thin(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let mut thinned: Vec<[f64; 2]> = points.iter().copied().step_by(step).collect();
    if let Some(&last) = points.last().filter(|last| thinned.last() != Some(last)) {
        thinned.push(last);
    }
    thinned
}

/// Mean over the points around each one. At the ends there are fewer around: where less than half of them are
/// left, the curve is not drawn rather than made of noise.
fn smooth(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut sums = vec![0.0];
    for point in points {
        sums.push(sums[sums.len() - 1] + point[1]);
    }
    let wanted = points.len() / SMOOTHING / 2;
    let mean = |(at, point): (usize, &[f64; 2])| {
        let half = wanted.min(at).min(points.len() - 1 - at);
        let (from, to) = (at - half, at + half + 1);
        let mean = (sums[to] - sums[from]) / (to - from) as f64;
        (2 * half >= wanted).then_some([point[0], mean])
    };
    points.iter().enumerate().filter_map(mean).collect()
}

/// The maps side by side, each dot a track in the colour of its genre.
pub(super) fn map(map: &Map) -> String {
    const SIDE: f64 = 380.0;
    const GAP: f64 = 20.0;
    const TOP: f64 = 40.0;
    let colours = Colours::new(&map.genres);
    let width = GAP + (SIDE + GAP) * map.panels.len() as f64 + 190.0;
    let mut svg = Svg::new(width, TOP + SIDE + 40.0);
    for (number, panel) in map.panels.iter().enumerate() {
        let left = GAP + (SIDE + GAP) * number as f64;
        svg.text([left, TOP - 12.0], Anchor::Start, &panel.representation);
        svg.frame([left, TOP], [SIDE, SIDE]);
        let axis = |axis: usize, from: f64| {
            let values = panel.points.iter().map(|point| f64::from(point[axis]));
            Scale::new(values, [from + 10.0, from + SIDE - 10.0])
        };
        let (x, y) = (axis(0, left), axis(1, TOP));
        for (point, genre) in panel.points.iter().zip(&map.genres) {
            let place = [x.place(point[0].into()), y.place(point[1].into())];
            svg.dot(place, 4.0, colours.of(genre.as_deref()));
        }
    }
    let left = width - 175.0;
    for (row, (name, colour)) in colours.legend.iter().enumerate() {
        let height = TOP + 14.0 + 20.0 * row as f64;
        svg.dot([left, height - 4.0], 5.0, colour);
        svg.text([left + 12.0, height], Anchor::Start, name);
    }
    let note = format!(
        "t-SNE, perplexity {:.0}, {} tracks",
        map.perplexity,
        map.tracks.len()
    );
    svg.text([GAP, TOP + SIDE + 24.0], Anchor::Start, &note);
    svg.finish()
}

/// The largest genres have colours, the rest is grey.
struct Colours<'a> {
    by_genre: BTreeMap<&'a str, &'static str>,
    legend: Vec<(String, &'static str)>,
}

impl<'a> Colours<'a> {
    fn new(genres: &'a [Option<String>]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for genre in genres.iter().flatten() {
            *counts.entry(genre).or_default() += 1;
        }
        let unknown = genres.iter().filter(|genre| genre.is_none()).count();
        let mut by_size: Vec<(&str, usize)> = counts.into_iter().collect();
        by_size.sort_by_key(|&(genre, count)| (std::cmp::Reverse(count), genre));
        let (named, others) = by_size.split_at(by_size.len().min(PALETTE.len()));

        let mut legend = Vec::new();
        let mut by_genre = BTreeMap::new();
        for (&(genre, count), colour) in named.iter().zip(PALETTE) {
            by_genre.insert(genre, colour);
            legend.push((format!("{genre} ({count})"), colour));
        }
        let grey = unknown + others.iter().map(|(_, count)| count).sum::<usize>();
        if grey > 0 {
            legend.push((format!("other or unknown ({grey})"), GREY));
        }
        Self { by_genre, legend }
    }

    fn of(&self, genre: Option<&str>) -> &'static str {
        let known = genre.and_then(|genre| self.by_genre.get(genre));
        known.copied().unwrap_or(GREY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_a_line_and_leaves_out_the_ends() {
        let line: Vec<[f64; 2]> = (0..100)
            .map(|i| [f64::from(i), 2.0 * f64::from(i)])
            .collect();
        let smoothed = smooth(&line);
        assert_eq!((smoothed[0][0], smoothed.len()), (1.0, 98));
        assert!(
            smoothed
                .iter()
                .all(|point| (point[1] - 2.0 * point[0]).abs() < 1e-9)
        );
        assert_eq!(smooth(&line[..10]), line[..10]);
        assert_eq!(smooth(&[]).len(), 0);
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_end() {
        let points: Vec<[f64; 2]> = (0..10_001).map(|i| [f64::from(i), 0.0]).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= MAX_POINTS + 1);
        assert_eq!(thinned.last(), points.last());
    }

    #[test]
    fn without_two_finite_points_there_is_no_curve() {
        assert_eq!(loss(&Curves::default()), None);
        let curves = Curves {
            training: vec![(0, 1.0), (1, f64::NAN), (2, f64::INFINITY)],
            validation: Vec::new(),
        };
        assert_eq!(loss(&curves), None);
    }

    #[test]
    fn small_genres_share_a_colour() {
        let mut genres = vec![Some("large".to_owned()); 3];
        genres.extend((0..9).map(|i| Some(format!("small {i}"))));
        genres.push(None);
        let colours = Colours::new(&genres);
        assert_eq!(colours.of(Some("large")), PALETTE[0]);
        assert_eq!(colours.of(Some("small 8")), GREY);
        assert_eq!(colours.of(None), GREY);
        assert_eq!(colours.legend.len(), PALETTE.len() + 1);
        assert_eq!(colours.legend[7].0, "other or unknown (4)");
    }
}
