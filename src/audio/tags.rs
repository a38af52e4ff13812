//! Title, artist and the like, as the file itself tells them.

use serde::{Deserialize, Serialize};
use symphonia::{
    core::{
        common::Limit,
        errors::Error,
        formats::{
            FormatOptions, FormatReader,
            probe::{Hint, Probe},
        },
        io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions},
        meta::{MetadataOptions, MetadataRevision, StandardTag, well_known::METADATA_ID_ID3V1},
    },
    default::{
        formats::{AdtsReader, FlacReader, MpaReader, OggReader, WavReader},
        meta::{ApeReader, Id3v1Reader, Id3v2Reader},
    },
};

use super::{AudioError, Corruption};

/// Bytes of one tag that are kept.
const MAX_TAG_BYTES: usize = 64 << 10;
/// Characters of one value that are kept.
const MAX_CHARS: usize = 1_000;
/// Genres that are kept.
const MAX_GENRES: usize = 32;

/// What a file's tags tell about it. Values are trimmed, cut to 1,000 characters and never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tags {
    /// Title of the track.
    pub title: Option<String>,
    /// Performer.
    pub artist: Option<String>,
    /// Artist of the whole album.
    pub album_artist: Option<String>,
    /// Album.
    pub album: Option<String>,
    /// Genres in the order of the file, each once.
    pub genres: Vec<String>,
    /// Date of recording or release as written, mostly `YYYY` or `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Year of recording or release.
    pub year: Option<u16>,
    /// Number of the track on its album.
    pub track_number: Option<u64>,
    /// Licence, by name or address.
    pub licence: Option<String>,
    /// Copyright notice.
    pub copyright: Option<String>,
    /// Page of the track or its artist.
    pub url: Option<String>,
    /// Free comment.
    pub comment: Option<String>,
}

/// Reads the tags of anything but an MP4, also those at the end of the file.
pub(super) fn read(source: impl MediaSource + 'static) -> Result<Tags, AudioError> {
    let mut probe = Probe::new();
    probe.register_metadata::<Id3v2Reader<'_>>();
    probe.register_metadata::<Id3v1Reader<'_>>();
    probe.register_metadata::<ApeReader<'_>>();
    probe.register_format::<MpaReader<'_>>();
    probe.register_format::<WavReader<'_>>();
    probe.register_format::<FlacReader<'_>>();
    probe.register_format::<OggReader<'_>>();
    probe.register_format::<AdtsReader<'_>>();

    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let metadata = MetadataOptions::default()
        .limit_visual_bytes(Limit::Maximum(0))
        .limit_tag_bytes(Limit::Maximum(MAX_TAG_BYTES));
    let mut reader = probe
        .probe(&Hint::new(), stream, FormatOptions::default(), metadata)
        .map_err(|error| match error {
            Error::IoError(io) if io.kind() != std::io::ErrorKind::UnexpectedEof => io.into(),
            other => AudioError::Corrupt(Corruption::Container(other)),
        })?;
    Ok(of_reader(&mut *reader))
}

/// Collects the tags that an opened reader has seen.
pub(super) fn of_reader(reader: &mut dyn FormatReader) -> Tags {
    let mut metadata = reader.metadata();
    let mut revisions: Vec<MetadataRevision> = metadata.current().cloned().into_iter().collect();
    while !metadata.is_latest() {
        metadata.pop();
        revisions.extend(metadata.current().cloned());
    }
    // ID3v1 cuts its values at 30 characters: it only fills gaps.
    revisions.sort_by_key(|revision| revision.info.metadata == METADATA_ID_ID3V1);

    let mut tags = Tags::default();
    for revision in &revisions {
        let per_track = revision.per_track.iter().map(|track| &track.metadata);
        for container in std::iter::once(&revision.media).chain(per_track) {
            for tag in container.tags.iter().filter_map(|tag| tag.std.as_ref()) {
                tags.add(tag);
            }
        }
    }
    tags.year = tags.year.or_else(|| year_of(tags.date.as_deref()?));
    tags
}

impl Tags {
    fn add(&mut self, tag: &StandardTag) {
        use StandardTag as T;
        match tag {
            T::TrackTitle(value) => fill(&mut self.title, value),
            T::Artist(value) => fill(&mut self.artist, value),
            T::AlbumArtist(value) => fill(&mut self.album_artist, value),
            T::Album(value) => fill(&mut self.album, value),
            T::Genre(value) => self.add_genre(value),
            T::ReleaseDate(value) | T::RecordingDate(value) | T::OriginalReleaseDate(value) => {
                fill(&mut self.date, value);
            }
            T::ReleaseYear(year) | T::RecordingYear(year) | T::OriginalReleaseYear(year) => {
                self.year = self.year.or(Some(*year));
            }
            T::TrackNumber(number) => self.track_number = self.track_number.or(Some(*number)),
            T::License(value) | T::UrlCopyright(value) | T::TermsOfUse(value) => {
                fill(&mut self.licence, value);
            }
            T::Copyright(value) => fill(&mut self.copyright, value),
            T::Url(value) | T::UrlSource(value) | T::UrlOfficial(value) | T::UrlArtist(value) => {
                fill(&mut self.url, value);
            }
            T::Comment(value) | T::Description(value) => fill(&mut self.comment, value),
            _ => {}
        }
    }

    fn add_genre(&mut self, value: &str) {
        let genre = clean(value).filter(|genre| !self.genres.contains(genre));
        if let Some(genre) = genre.filter(|_| self.genres.len() < MAX_GENRES) {
            self.genres.push(genre);
        }
    }
}

/// The first value wins.
fn fill(slot: &mut Option<String>, value: &str) {
    if slot.is_none() {
        *slot = clean(value);
    }
}

fn clean(value: &str) -> Option<String> {
    let value = value.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!value.is_empty()).then(|| value.chars().take(MAX_CHARS).collect())
}

/// The first four digits of a date such as `1999-05-01`.
fn year_of(date: &str) -> Option<u16> {
    date.get(..4)?.parse().ok().filter(|&year| year > 0)
}
