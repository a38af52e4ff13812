//! Tags of an audio file, and what its path says where they are silent.

use crate::catalog::RelativePath;

/// Longest tag that is kept; what is longer is no title.
const TAG_CHARS: usize = 500;

/// Tags of an audio file as the ingest hands them over; empty until filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackTags {
    /// The title.
    pub title: Option<String>,
    /// The artist.
    pub artist: Option<String>,
    /// The album.
    pub album: Option<String>,
    /// The genres; an entry may name several between semicolons.
    pub genres: Vec<String>,
    /// Year of release.
    pub year: Option<i32>,
    /// The licence, as text or URL.
    pub licence: Option<String>,
    /// The page to link to when the track is used.
    pub attribution_url: Option<String>,
}

impl TrackTags {
    /// Cleans the tags and fills what they leave open from the path.
    ///
    /// Read are `Artist/Album/NN - Title.ext`, with a disc's directory in between,
    /// `Artist/Title.ext`, and `Artist - Title.ext` at the top or in an album's directory. The title
    /// is never left open.
    #[must_use]
    pub fn or_from_path(self, path: &RelativePath) -> Self {
        let guess = Guess::from(path);
        let genres = self
            .genres
            .iter()
            .flat_map(|entry| entry.split([';', '\0']));
        Self {
            title: clean(self.title).or(Some(guess.title)),
            artist: clean(self.artist).or(guess.artist),
            album: clean(self.album).or(guess.album),
            genres: genres
                .filter_map(|genre| clean(Some(genre.to_owned())))
                .collect(),
            year: self.year.filter(|year| (1..=9999).contains(year)),
            licence: clean(self.licence),
            attribution_url: clean(self.attribution_url)
                .filter(|url| url.starts_with("http://") || url.starts_with("https://")),
        }
    }
}

/// What a path says.
struct Guess {
    title: String,
    artist: Option<String>,
    album: Option<String>,
}

impl From<&RelativePath> for Guess {
    fn from(path: &RelativePath) -> Self {
        let mut directories: Vec<&str> = path.as_str().split('/').collect();
        let file = directories.pop().unwrap_or_default();
        directories.retain(|directory| !is_disc(directory));
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let name = spaced(without_number(stem));
        let (before, after) = match name.split_once(" - ") {
            Some((artist, title)) if !title.trim().is_empty() && !artist.trim().is_empty() => {
                (Some(artist.trim()), title.trim())
            }
            _ => (None, name.trim()),
        };
        let directory = |from_end: usize| {
            let at = directories.len().checked_sub(from_end)?;
            clean(Some(spaced(directories.get(at)?)))
        };
        let (artist, album, title) = match (directories.len(), before) {
            (0, artist) => (artist.map(Into::into), None, after),
            (1, Some(artist)) => (Some(artist.to_owned()), directory(1), after),
            (1, None) => (directory(1), None, after),
            (_, Some(artist)) if directory(2).is_some_and(|d| d.eq_ignore_ascii_case(artist)) => {
                (directory(2), directory(1), after)
            }
            // Below artist and album a dash belongs to the title.
            _ => (directory(2), directory(1), name.trim()),
        };
        let title = clean(Some(title.to_owned()));
        Self {
            title: title.unwrap_or_else(|| file.to_owned()),
            artist,
            album,
        }
    }
}

/// Takes a track number off: `01 - x`, `01. x`, `01_x`, `1) x`, `01 x`, `1-01 x`; leaves
/// `99 Luftballons` and `1979` alone.
fn without_number(stem: &str) -> &str {
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=3).contains(&digits) {
        return stem;
    }
    let (number, rest) = stem.split_at(digits);
    // The disc's number in front of the track's.
    if let Some(track) = rest.strip_prefix('-').filter(|rest| rest.starts_with('0')) {
        let inner = without_number(track);
        if inner.len() < track.len() {
            return inner;
        }
    }
    let title = rest.trim_start_matches([' ', '-', '.', '_', ')']);
    let separator = &rest[..rest.len() - title.len()];
    let punctuated = separator.contains([')', '_', '.'])
        || separator.contains(" - ")
        || separator.contains("- ");
    let numbered = !separator.is_empty() && (punctuated || number.starts_with('0'));
    if numbered && !title.is_empty() {
        title
    } else {
        stem
    }
}

/// Underscores as spaces, in names that have no spaces.
fn spaced(name: &str) -> String {
    if name.contains(' ') {
        name.to_owned()
    } else {
        name.replace('_', " ")
    }
}

/// `CD1`, `Disc 2`, `disk_03`.
fn is_disc(directory: &str) -> bool {
    let lower = directory.to_ascii_lowercase();
    let number = ["cd", "disc", "disk"]
        .iter()
        .find_map(|word| lower.strip_prefix(word));
    number.is_some_and(|number| {
        let number = number.trim_start_matches([' ', '_', '-']);
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Without control characters and outer space; none where nothing is left.
fn clean(tag: Option<String>) -> Option<String> {
    let tag: String = tag?
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TAG_CHARS)
        .collect();
    let tag = tag.trim();
    (!tag.is_empty()).then(|| tag.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guess(path: &str) -> (String, Option<String>, Option<String>) {
        let tags = TrackTags::default().or_from_path(&RelativePath::new(path).unwrap());
        (tags.title.unwrap(), tags.artist, tags.album)
    }

    #[test]
    fn a_path_tells_artist_album_and_title() {
        let some = |s: &str| Some(s.to_owned());
        for (path, title, artist, album) in [
            (
                "Muse/Origin/01 - New Born.mp3",
                "New Born",
                some("Muse"),
                some("Origin"),
            ),
            (
                "a/Muse/Origin/CD2/1-01 New Born.flac",
                "New Born",
                some("Muse"),
                some("Origin"),
            ),
            (
                "Muse/Origin/01. Muse - New Born.mp3",
                "New Born",
                some("Muse"),
                some("Origin"),
            ),
            (
                "Muse/Origin/Exo-Politics - Live.mp3",
                "Exo-Politics - Live",
                some("Muse"),
                some("Origin"),
            ),
            ("Muse/New_Born.ogg", "New Born", some("Muse"), None),
            (
                "Best of/03 Muse - New Born.ogg",
                "New Born",
                some("Muse"),
                some("Best of"),
            ),
            ("Muse - New Born.wav", "New Born", some("Muse"), None),
            ("99 Luftballons.mp3", "99 Luftballons", None, None),
            ("1979.mp3", "1979", None, None),
            ("7) Seven.mp3", "Seven", None, None),
            ("01.mp3", "01", None, None),
            ("50-50.mp3", "50-50", None, None),
            (" - .mp3", "-", None, None),
        ] {
            assert_eq!(guess(path), (title.to_owned(), artist, album), "{path}");
        }
    }

    #[test]
    fn tags_win_over_the_path_unless_they_are_empty() {
        let tags = TrackTags {
            title: Some(" \0 ".to_owned()),
            artist: Some("Nina\nSimone".to_owned()),
            genres: vec!["Jazz; Blues;;".to_owned(), "Soul".to_owned()],
            year: Some(0),
            attribution_url: Some("javascript:alert(1)".to_owned()),
            ..TrackTags::default()
        };
        let tags = tags.or_from_path(&RelativePath::new("X/Y/01 Feeling Good.mp3").unwrap());
        assert_eq!(tags.title.as_deref(), Some("Feeling Good"));
        assert_eq!(tags.artist.as_deref(), Some("Nina Simone"));
        assert_eq!(tags.album.as_deref(), Some("Y"));
        assert_eq!(tags.genres, ["Jazz", "Blues", "Soul"]);
        assert_eq!((tags.year, tags.attribution_url), (None, None));
    }

    proptest! {
        #[test]
        fn any_path_gives_a_title(parts in proptest::collection::vec("[^/\0]{1,12}", 1..5)) {
            if let Ok(path) = RelativePath::new(parts.join("/")) {
                prop_assert!(TrackTags::default().or_from_path(&path).title.is_some());
            }
        }
    }
}
