//! A linear classifier of genres on frozen embeddings (Alain and Bengio 2016): can what the embedding
//! knows be read off with a plane?
//!
//! Multinomial logistic regression on standardised embeddings. The folds are made of whole artists and whole
//! albums, since a classifier that has heard an album knows its sound and not its genre.

mod logistic;

use std::collections::{BTreeMap, BTreeSet};

use self::logistic::Classifier;
use super::{
    Labels,
    compare::{Representation, Standardiser},
    task::Unavailable,
};

const FOLDS: usize = 5;
/// Tracks that a genre must have to be a class.
const MIN_TRACKS: usize = 5;

/// Which tracks are classified, what they are, and which of them are tested together.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) tracks: Vec<usize>,
    classes: Vec<usize>,
    folds: Vec<usize>,
    class_count: usize,
}

impl Plan {
    /// Plans folds over the tracks whose genre has [`MIN_TRACKS`] in at least two groups of artists.
    pub(super) fn new(labels: &[Labels]) -> Result<Self, Unavailable> {
        let groups = groups(labels);
        let mut by_genre: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (track, labels) in labels.iter().enumerate() {
            if let Some(genre) = labels.genre {
                by_genre.entry(genre).or_default().push(track);
            }
        }
        by_genre.retain(|_, tracks| {
            let of: BTreeSet<usize> = tracks.iter().map(|&track| groups[track]).collect();
            tracks.len() >= MIN_TRACKS && of.len() >= 2
        });
        if by_genre.len() < 2 {
            return Err(Unavailable::FewGenres);
        }
        let classified = by_genre.values().enumerate();
        let mut members: Vec<(usize, usize)> = classified
            .flat_map(|(class, tracks)| tracks.iter().map(move |&track| (track, class)))
            .collect();
        members.sort_unstable();
        let (tracks, classes): (Vec<usize>, Vec<usize>) = members.into_iter().unzip();
        Ok(Self {
            folds: folds(&tracks, &groups),
            class_count: by_genre.len(),
            tracks,
            classes,
        })
    }

    /// What a right answer counts for each track so that their mean is the balanced accuracy: the mean over
    /// the classes of the share of right answers.
    pub(super) fn balance(&self) -> Vec<f64> {
        let weight = |&class: &usize| {
            let size = self.classes.iter().filter(|&&other| other == class).count();
            self.classes.len() as f64 / (self.class_count * size) as f64
        };
        self.classes.iter().map(weight).collect()
    }

    /// Whether each track is classified rightly by a classifier that has not seen its fold.
    pub(super) fn run(&self, representation: &Representation) -> Vec<bool> {
        let whole = &representation.space.whole.vectors;
        let mut right = vec![false; self.tracks.len()];
        for fold in 0..FOLDS {
            let (test, training): (Vec<usize>, Vec<usize>) =
                (0..self.tracks.len()).partition(|&index| self.folds[index] == fold);
            if test.is_empty() || training.is_empty() {
                continue;
            }
            let vector = |index: &usize| whole[self.tracks[*index]].as_slice();
            let rows: Vec<&[f32]> = training.iter().map(vector).collect();
            let scale = Standardiser::fit(&rows);
            let input = |index: &usize| {
                let mut row = vector(index).to_vec();
                scale.apply(&mut row);
                row.into_iter().map(f64::from).collect::<Vec<f64>>()
            };
            let inputs: Vec<Vec<f64>> = training.iter().map(input).collect();
            let classes: Vec<usize> = training.iter().map(|&index| self.classes[index]).collect();
            let classifier = Classifier::train(&inputs, &classes, self.class_count);
            for index in test {
                right[index] = classifier.class(&input(&index)) == self.classes[index];
            }
        }
        right
    }
}

/// Numbers tracks by groups that share an artist or an album, directly or through others.
fn groups(labels: &[Labels]) -> Vec<usize> {
    let mut group: Vec<usize> = (0..labels.len()).collect();
    let mut first_of = BTreeMap::new();
    for (track, labels) in labels.iter().enumerate() {
        let artist = labels.artist.map(|id| (true, id));
        let album = labels.album.map(|id| (false, id));
        for key in artist.into_iter().chain(album) {
            let other = *first_of.entry(key).or_insert(track);
            let (keep, merge) = (group[other], group[track]);
            if keep != merge {
                group
                    .iter_mut()
                    .filter(|g| **g == merge)
                    .for_each(|g| *g = keep);
            }
        }
    }
    group
}

/// Gives whole groups to folds, the largest first, each to the fold with the fewest tracks.
fn folds(tracks: &[usize], groups: &[usize]) -> Vec<usize> {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for &track in tracks {
        *sizes.entry(groups[track]).or_default() += 1;
    }
    let mut by_size: Vec<(usize, usize)> = sizes.into_iter().collect();
    by_size.sort_by_key(|&(group, size)| (std::cmp::Reverse(size), group));
    let mut filled = [0; FOLDS];
    let mut fold_of = BTreeMap::new();
    for (group, size) in by_size {
        let fold = (0..FOLDS).min_by_key(|&fold| filled[fold]).unwrap_or(0);
        filled[fold] += size;
        fold_of.insert(group, fold);
    }
    tracks
        .iter()
        .map(|&track| fold_of[&groups[track]])
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        track::TrackId,
        train::evaluate::{
            compare::{Comparison, Kind},
            views::{Rows, Space},
        },
    };

    fn labels(artist: i64, album: i64, genre: i64) -> Labels {
        Labels {
            id: TrackId(0),
            artist: Some(artist),
            album: Some(album),
            genre: Some(genre),
            genre_title: None,
        }
    }

    #[test]
    fn artists_and_albums_tie_tracks_together() {
        // 0 and 1 share an album, 1 and 2 an artist, 3 stands alone; so does 4, whose labels are unknown.
        let mut all = vec![
            labels(1, 1, 0),
            labels(2, 1, 0),
            labels(2, 2, 0),
            labels(3, 3, 0),
        ];
        all.push(Labels {
            artist: None,
            album: None,
            ..labels(0, 0, 0)
        });
        let groups = groups(&all);
        assert_eq!(groups[0], groups[1]);
        assert_eq!(groups[1], groups[2]);
        assert_ne!(groups[0], groups[3]);
        assert_ne!(groups[3], groups[4]);
    }

    #[test]
    fn folds_are_even_and_never_cut_a_group() {
        let groups = [0, 0, 0, 1, 1, 2, 3, 4, 5];
        let tracks: Vec<usize> = (0..9).collect();
        let folds = folds(&tracks, &groups);
        assert!(folds[0] == folds[1] && folds[1] == folds[2] && folds[3] == folds[4]);
        let size = |fold| folds.iter().filter(|&&other| other == fold).count();
        assert_eq!((0..FOLDS).map(size).max(), Some(3));
        assert_eq!((0..FOLDS).map(size).min(), Some(1));
    }

    #[test]
    fn small_genres_and_those_of_one_album_are_no_classes() {
        let mut all: Vec<Labels> = (0..6).map(|i| labels(i, i, 1)).collect();
        all.extend((0..4).map(|i| labels(10 + i, 10 + i, 2)));
        all.extend((0..9).map(|_| labels(20, 20, 3)));
        assert_eq!(Plan::new(&all), Err(Unavailable::FewGenres));
        all.extend((0..6).map(|i| labels(30 + i, 30 + i, 4)));
        let plan = Plan::new(&all).unwrap();
        assert_eq!((plan.class_count, plan.tracks.len()), (2, 12));
        assert_eq!(Plan::new(&[]), Err(Unavailable::FewGenres));
    }

    #[test]
    fn the_balance_is_the_mean_over_classes() {
        let plan = Plan {
            tracks: vec![0, 1, 2, 3],
            classes: vec![0, 0, 0, 1],
            folds: vec![0; 4],
            class_count: 2,
        };
        // Only the large class right: (1 + 0) / 2.
        let weights = plan.balance();
        let mean = weights[..3].iter().sum::<f64>() / 4.0;
        assert!((mean - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_separates_genres_is_found_on_unheard_artists() {
        let all: Vec<Labels> = (0..20).map(|i| labels(i, i, i % 2)).collect();
        let vector = |i: usize| vec![(i % 2) as f32 + 0.01 * i as f32, (i * 7 % 5) as f32];
        let space = Space {
            whole: Rows {
                tracks: (0..20).collect(),
                vectors: (0..20).map(vector).collect(),
            },
            ..Space::default()
        };
        let it = Representation::new("it", Kind::Encoder, Comparison::Euclidean, space);
        let right = Plan::new(&all).unwrap().run(&it);
        assert_eq!(right, [true; 20]);
    }
}
