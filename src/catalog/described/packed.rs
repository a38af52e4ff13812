//! A track's description in one allocation.

use std::sync::Arc;

use crate::{
    catalog::{Album, Artist, Genre, LicenceRow, Source, Split, Track},
    track::TrackId,
};

/// A [`Track`] as bytes, one allocation instead of a dozen. Taking it apart costs far less than the question to the
/// database that it spares.
#[derive(Clone)]
pub(super) struct Packed(Arc<[u8]>);

/// Where a text's length does not fit into a byte, this one stands before four bytes of it.
const LONG: u8 = u8::MAX;

impl Packed {
    pub(super) fn new(track: &Track) -> Self {
        // Taken apart, so that no field is forgotten.
        let Track {
            id,
            source,
            title,
            artist,
            album,
            genres,
            licence,
            attribution_url,
            year,
            released_on,
            duration_seconds,
            split,
            available,
        } = track;
        let mut to = Writer::default();
        to.bytes(id.0.to_le_bytes());
        to.text(source.as_str());
        to.text(title);
        to.option(artist.as_ref(), |to, artist| {
            to.named(artist.id, &artist.name);
        });
        to.option(album.as_ref(), |to, album| to.named(album.id, &album.title));
        to.length(genres.len());
        for genre in genres {
            to.named(genre.id, &genre.title);
        }
        to.option(licence.as_ref(), |to, licence| {
            to.named(licence.row, &licence.id);
            to.text(&licence.name);
            to.option(licence.url.as_deref(), Writer::text);
        });
        to.option(attribution_url.as_deref(), Writer::text);
        to.option(*year, |to, year| to.bytes(year.to_le_bytes()));
        to.option(released_on.as_deref(), Writer::text);
        to.option(*duration_seconds, |to, seconds| {
            to.bytes(seconds.to_le_bytes());
        });
        to.option(split.map(Split::as_str), Writer::text);
        to.bytes([u8::from(*available)]);
        Self(to.0.into())
    }

    /// How many they are.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The track; none only for bytes that [`Self::new`] has not made.
    pub(super) fn unpack(&self) -> Option<Track> {
        let mut from = Reader(&self.0);
        Some(Track {
            id: TrackId(u32::from_le_bytes(from.bytes()?)),
            source: Source::from_name(from.text()?)?,
            title: from.string()?,
            artist: from.option(|from| {
                let (id, name) = from.named()?;
                Some(Artist { id, name })
            })?,
            album: from.option(|from| {
                let (id, title) = from.named()?;
                Some(Album { id, title })
            })?,
            genres: (0..from.length()?)
                .map(|_| {
                    let (id, title) = from.named()?;
                    Some(Genre { id, title })
                })
                .collect::<Option<_>>()?,
            licence: from.option(|from| {
                let (row, id) = from.named()?;
                Some(LicenceRow {
                    row,
                    id,
                    name: from.string()?,
                    url: from.option(Reader::string)?,
                })
            })?,
            attribution_url: from.option(Reader::string)?,
            year: from.option(|from| Some(i32::from_le_bytes(from.bytes()?)))?,
            released_on: from.option(Reader::string)?,
            duration_seconds: from.option(|from| Some(f64::from_le_bytes(from.bytes()?)))?,
            split: from.option(|from| Split::from_name(from.text()?))?,
            available: from.bytes()? == [1],
        })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend(bytes);
    }

    fn length(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(short) if short < LONG => self.bytes([short]),
            _ => {
                self.bytes([LONG]);
                // SQLite's texts are shorter than 2^31 bytes.
                self.bytes(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
    }

    fn named(&mut self, id: i64, name: &str) {
        self.bytes(id.to_le_bytes());
        self.text(name);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bytes([u8::from(value.is_some())]);
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn length(&mut self) -> Option<usize> {
        match self.bytes()? {
            [LONG] => usize::try_from(u32::from_le_bytes(self.bytes()?)).ok(),
            [short] => Some(short.into()),
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn string(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn named(&mut self) -> Option<(i64, String)> {
        Some((i64::from_le_bytes(self.bytes()?), self.string()?))
    }

    /// The outer none stands for bytes that are none of ours.
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.bytes()? {
            [0] => Some(None),
            _ => read(self).map(Some),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A track of which everything is known.
    pub(in super::super) fn full(id: u32) -> Track {
        Track {
            id: TrackId(id),
            source: Source::Fma,
            title: "Fröhliche \0 Überfahrt".to_owned(),
            artist: Some(Artist {
                id: -1,
                name: "Nobody".to_owned(),
            }),
            album: Some(Album {
                id: i64::MAX,
                title: String::new(),
            }),
            genres: ["Rock", "Pop", "Zydeco"]
                .iter()
                .zip(7..)
                .map(|(title, id)| Genre {
                    id,
                    title: (*title).to_owned(),
                })
                .collect(),
            licence: Some(LicenceRow {
                row: 3,
                id: "CC-BY-4.0".to_owned(),
                name: "Creative Commons Attribution 4.0".to_owned(),
                url: Some("https://creativecommons.org/licenses/by/4.0/".to_owned()),
            }),
            attribution_url: Some("https://example.org/".to_owned()),
            year: Some(-44),
            released_on: Some("2013-01-01".to_owned()),
            duration_seconds: Some(163.25),
            split: Some(Split::Validation),
            available: true,
        }
    }

    /// A track of which nothing is known.
    fn bare() -> Track {
        Track {
            source: Source::Folder,
            title: String::new(),
            artist: None,
            album: None,
            genres: Vec::new(),
            licence: None,
            attribution_url: None,
            year: None,
            released_on: None,
            duration_seconds: None,
            split: None,
            available: false,
            ..full(u32::MAX)
        }
    }

    #[test]
    fn a_track_comes_back_as_it_was() {
        let long = |length: usize| Track {
            title: "é".repeat(length / 2) + &"x".repeat(length % 2),
            ..full(2)
        };
        let many = Track {
            genres: vec![full(1).genres[0].clone(); 300],
            ..bare()
        };
        for track in [
            full(1),
            bare(),
            long(254),
            long(255),
            long(256),
            long(70_001),
            many,
        ] {
            assert_eq!(Packed::new(&track).unpack(), Some(track));
        }
    }

    #[test]
    fn other_bytes_are_no_track() {
        let packed = Packed::new(&full(1));
        for length in 0..packed.bytes() {
            assert_eq!(Packed(packed.0[..length].into()).unpack(), None, "{length}");
        }
        assert_eq!(Packed([LONG; 64].into()).unpack(), None);
    }
}
