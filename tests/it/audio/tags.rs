//! Tags of every format.

use std::fs;

use songkin::audio::{AudioError, Found, Tags};

use super::{decoder, forge::junk, sine_file};

const METADATA: [&str; 16] = [
    "-metadata",
    "title=Nachtstück",
    "-metadata",
    "artist=Ada & the Loops",
    "-metadata",
    "album=Engines",
    "-metadata",
    "genre=Ambient",
    "-metadata",
    "date=1999-05-01",
    "-metadata",
    "track=3/12",
    "-metadata",
    "copyright=CC BY 4.0",
    "-metadata",
    "comment=made by hand",
];

fn tags_of(file: &[u8]) -> Result<Tags, AudioError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("track");
    fs::write(&path, file).unwrap();
    decoder().read_tags(&path)
}

#[test]
fn tags_are_read_from_every_format_that_has_them() {
    for (extension, options) in [
        ("mp3", &[][..]),
        ("mp3", &["-id3v2_version", "3"]),
        ("flac", &[]),
        ("ogg", &["-c:a", "libvorbis"]),
        ("m4a", &[]),
    ] {
        let case = format!("{extension} {options:?}");
        let file = sine_file(extension, 44_100, 0.5, &[&METADATA, options].concat());
        let tags = tags_of(&file).unwrap();
        assert_eq!(tags.title.as_deref(), Some("Nachtstück"), "{case}");
        assert_eq!(tags.artist.as_deref(), Some("Ada & the Loops"), "{case}");
        assert_eq!(tags.album.as_deref(), Some("Engines"), "{case}");
        assert_eq!(tags.genres, ["Ambient"], "{case}");
        assert_eq!(tags.year, Some(1999), "{case}");
        assert_eq!(tags.track_number, Some(3), "{case}");
        assert_eq!(tags.copyright.as_deref(), Some("CC BY 4.0"), "{case}");
        // ffmpeg writes an MP3's comment into a frame of its own invention.
        let comment = (extension != "mp3").then_some("made by hand");
        assert_eq!(tags.comment.as_deref(), comment, "{case}");
    }
}

#[test]
fn tags_at_the_end_of_an_mp3_are_found() {
    // ID3v1: "TAG", title, artist, album (30 each), year (4), comment (28), 0, track, genre.
    let field = |text: &str, len| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(len, 0);
        bytes
    };
    let tag = [
        b"TAG".to_vec(),
        field("Nocturne", 30),
        field("Ada & the Loops", 30),
        field("Engines", 30),
        field("1999", 4),
        field("", 29),
        vec![3, 26],
    ]
    .concat();
    let plain = sine_file("mp3", 44_100, 0.5, &["-id3v2_version", "0"]);
    let tags = tags_of(&[plain, tag.clone()].concat()).unwrap();
    assert_eq!(tags.artist.as_deref(), Some("Ada & the Loops"));
    assert_eq!((tags.year, tags.track_number), (Some(1999), Some(3)));
    assert_eq!(tags.genres, ["Ambient"]);

    // Where both kinds are there, the one that is not cut at 30 characters counts.
    let both = sine_file("mp3", 44_100, 0.5, &METADATA);
    let tags = tags_of(&[both, tag].concat()).unwrap();
    assert_eq!(tags.title.as_deref(), Some("Nachtstück"));
}

#[test]
fn a_file_without_tags_has_none() {
    for extension in ["mp3", "wav", "flac", "aac"] {
        let file = sine_file(
            extension,
            44_100,
            0.5,
            &["-map_metadata", "-1", "-fflags", "+bitexact"],
        );
        let tags = tags_of(&file).unwrap();
        assert_eq!(tags, Tags::default(), "{extension}");
    }
}

#[test]
fn a_cover_of_a_megabyte_is_not_in_the_way() {
    let mut frame = b"APIC".to_vec();
    let picture = [b"\0image/png\0\x03\0".to_vec(), vec![0xff; 1 << 20]].concat();
    let size = (0..4)
        .rev()
        .map(|i| (picture.len() >> (7 * i) & 0x7f) as u8);
    frame.extend(size);
    frame.extend([0, 0]);
    frame.extend(picture);
    frame.extend(b"TIT2\0\0\0\x06\0\0\x03Title");
    let mut tag = b"ID3\x04\0\0".to_vec();
    tag.extend((0..4).rev().map(|i| (frame.len() >> (7 * i) & 0x7f) as u8));
    tag.extend(frame);
    let audio = sine_file("mp3", 44_100, 0.5, &["-id3v2_version", "0"]);
    let tags = tags_of(&[tag, audio].concat()).unwrap();
    assert_eq!(tags.title.as_deref(), Some("Title"));
}

#[test]
fn music_is_not_refused_for_tags_that_cannot_be_read() {
    // A tag that begins inside junk and claims more than the file has.
    let mut junk = junk(2_000);
    junk[1_000..1_010].copy_from_slice(b"ID3\x04\0\0\x7f\x7f\x7f\x7f");
    let audio = sine_file("mp3", 44_100, 0.5, &["-id3v2_version", "0"]);
    assert_eq!(tags_of(&[junk, audio].concat()).unwrap(), Tags::default());
}

#[test]
fn what_is_no_audio_has_no_tags() {
    let result = tags_of(b"title: not a song\n");
    assert!(
        matches!(result, Err(AudioError::Unsupported { found: Found::Text })),
        "{result:?}"
    );
}
