//! Tags of every format.

use std::fs;

use songkin::audio::{AudioError, Found, Tags};

use super::{decoder, sine_file};

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
        assert_eq!(tags.comment.as_deref(), Some("made by hand"), "{case}");
    }
}

#[test]
fn tags_at_the_end_of_an_mp3_are_found() {
    let options = [&METADATA[..], &["-id3v2_version", "0", "-write_id3v1", "1"]].concat();
    let tags = tags_of(&sine_file("mp3", 44_100, 0.5, &options)).unwrap();
    assert_eq!(tags.artist.as_deref(), Some("Ada & the Loops"));
    assert_eq!((tags.year, tags.track_number), (Some(1999), Some(3)));
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
fn what_is_no_audio_has_no_tags() {
    let result = tags_of(b"title: not a song\n");
    assert!(
        matches!(result, Err(AudioError::Unsupported { found: Found::Text })),
        "{result:?}"
    );
}
